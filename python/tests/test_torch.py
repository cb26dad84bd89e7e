"""Modules for PyTorch."""

import pytest

torch = pytest.importorskip("torch")

from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

import feedforward.torch as ff  # noqa: E402
from feedforward._core import activations  # noqa: E402

F64 = torch.float64


def normal(*shape):
    return torch.randn(*shape, dtype=F64, requires_grad=True)


def layer_inputs():
    return (normal(5, 4), normal(3, 4), normal(3))


def block_inputs():
    return (normal(2, 5, 4), normal(6, 4), normal(4, 6), normal(6), normal(4))


def gated_inputs():
    return (normal(5, 4), normal(6, 4), normal(6, 4), normal(4, 6))


def expert_inputs():
    return (normal(5, 4), normal(3, 4), normal(3, 6, 4), normal(3, 6, 4), normal(3, 4, 6))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("activation", activations())
def test_gradients_of_a_layer_are_right(activation):
    inputs = layer_inputs()

    def layer(*x):
        return ff.feedforward(*x, activation=activation)

    assert gradcheck(layer, inputs)
    assert gradgradcheck(layer, inputs)
    # The gradients of the first order are ours, those of higher orders PyTorch's: both are the same.
    dy = torch.randn(5, 3, dtype=F64)
    ours = torch.autograd.grad(layer(*inputs), inputs, dy)
    theirs = torch.autograd.grad(layer(*inputs), inputs, dy, create_graph=True)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("block", "inputs"),
    [(ff.feedforward_block, block_inputs()), (ff.gated_feedforward, gated_inputs())],
    ids=["block", "gated"],
)
def test_gradients_of_blocks_are_right(block, inputs):
    assert gradcheck(block, inputs)
    assert gradgradcheck(block, inputs)
    one, two = inputs[0].detach().requires_grad_(), inputs[0]
    y = block(one, *inputs[1:])
    (dx,) = torch.autograd.grad(y, one, torch.ones_like(y))
    (again,) = torch.autograd.grad(block(two, *inputs[1:]).sum(), two, create_graph=True)
    torch.testing.assert_close(dx, again.detach(), rtol=1e-12, atol=1e-12)


def test_gradients_of_experts_are_right():
    assert gradcheck(lambda *x: ff.mixture_of_experts(*x)[0], expert_inputs())
    inputs = expert_inputs()
    y = ff.mixture_of_experts(*inputs)[0]
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(y.sum(), inputs[0], create_graph=True)


def test_a_tensor_given_twice_has_both_gradients():
    w = normal(4, 4)
    assert gradcheck(lambda w: ff.feedforward(w, w, activation="tanh"), (w,))
    assert gradgradcheck(lambda w: ff.feedforward(w, w, activation="tanh"), (w,))


@pytest.mark.parametrize("requires_grad", [True, False])
@pytest.mark.parametrize(
    ("name", "attributes", "inputs"),
    [
        ("feedforward", "activation=gelu", layer_inputs()),
        ("feedforward", "activation=relu", layer_inputs()),
        ("feedforward_block", "gated=True,activation=silu", gated_inputs()),
        ("feedforward_block", "gated=False,activation=gelu", block_inputs()),
        ("mixture_of_experts", "top_k=2,activation=silu", expert_inputs()),
    ],
)
def test_the_operators_are_what_pytorch_expects(name, attributes, inputs, requires_grad):
    given = [x.detach().requires_grad_(requires_grad) for x in inputs]
    apply = torch.ops.feedforward.apply.default
    torch.library.opcheck(apply, (name, attributes, given, requires_grad))
    need = [True] * len(given)
    outputs = 3 if name == "mixture_of_experts" else 1
    found = apply(name, attributes, [x.detach() for x in given], True)
    y, saved = found[:outputs], found[outputs:]
    dy = [torch.randn_like(y) for y in y]
    arguments = (name, attributes, [x.detach() for x in given], y, saved, dy, need)
    torch.library.opcheck(torch.ops.feedforward.gradients.default, arguments)


def model():
    return torch.nn.Sequential(
        ff.FeedforwardLayer(4, 16, "gelu"),
        ff.FeedforwardBlock(16, 8),
        ff.GatedFeedforward(16, 8),
        ff.MixtureOfExperts(16, 8, 4),
        ff.FeedforwardLayer(16, 1, "identity"),
    )


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_as_one_graph(backend):
    eager = model()
    compiled = torch.compile(eager, fullgraph=True, backend=backend)
    for rows in (64, 32, 7):
        x = torch.randn(rows, 4)
        expected = torch.autograd.grad(eager(x).sum(), list(eager.parameters()))
        found = torch.autograd.grad(compiled(x).sum(), list(eager.parameters()))
        torch.testing.assert_close(found, expected)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), eager(x))


def test_the_layer_is_linear_and_an_activation():
    ours = ff.FeedforwardLayer(4, 3, "relu")
    theirs = torch.nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(7, 4)
    torch.testing.assert_close(ours(x), torch.relu(theirs(x)))
    ours(x).sum().backward()
    torch.relu(theirs(x)).sum().backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad)


def test_it_trains():
    network = model()
    x = torch.randn(64, 4)
    y = x[:, :1] * x[:, 1:2]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (network(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def gpt2(transformers):
    config = transformers.GPT2Config(
        n_layer=2, n_embd=16, n_head=2, vocab_size=64, n_positions=32, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def llama(transformers):
    config = transformers.LlamaConfig(
        num_hidden_layers=2, hidden_size=16, intermediate_size=24, num_attention_heads=2,
        num_key_value_heads=2, vocab_size=64, max_position_embeddings=32,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


@pytest.mark.parametrize("make", [gpt2, llama])
def test_mlps_of_transformers_are_replaced(make):
    transformers = pytest.importorskip("transformers")
    network = make(transformers)
    ids = torch.randint(64, (2, 32))
    before = network(ids, labels=ids)
    before.loss.backward()
    embedding = network.get_input_embeddings().weight
    expected, embedding.grad = embedding.grad, None
    assert ff.replace_mlps(network) == 2
    after = network(ids, labels=ids)
    torch.testing.assert_close(after.logits, before.logits)
    after.loss.backward()
    torch.testing.assert_close(embedding.grad, expected)
    with pytest.raises(ValueError, match="no MLP"):
        ff.replace_mlps(torch.nn.Linear(2, 2))


def test_what_is_not_supported_is_an_error():
    x = normal(2, 4)
    with pytest.raises(TypeError, match="float64"):
        ff.FeedforwardLayer(4, 3)(x)
    with pytest.raises(ValueError, match="rleu"):
        ff.FeedforwardLayer(4, 3, "rleu")
    with pytest.raises(ValueError, match="features"):
        ff.FeedforwardLayer(5, 3, dtype=F64)(x)
    with pytest.raises(ValueError, match="both biases"):
        ff.feedforward_block(x, normal(3, 4), normal(4, 3), normal(3))
    with pytest.raises(TypeError, match="float16"):
        ff.FeedforwardLayer(4, 3)(x.half())


def test_a_changed_input_is_noticed():
    layer = ff.FeedforwardLayer(4, 3)
    y = layer(torch.ones(2, 4))
    with torch.no_grad():
        layer.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        y.sum().backward()
