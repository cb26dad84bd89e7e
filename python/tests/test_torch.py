"""Modules for PyTorch."""

import pytest

torch = pytest.importorskip("torch")

from torch.autograd import gradcheck  # noqa: E402

import feedforward.torch as ff  # noqa: E402

F64 = torch.float64


def normal(*shape):
    return torch.randn(*shape, dtype=F64, requires_grad=True)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_gradients_are_right():
    assert gradcheck(
        lambda *x: ff.feedforward(*x, activation="gelu"), (normal(5, 4), normal(3, 4), normal(3))
    )
    inputs = (normal(5, 4), normal(6, 4), normal(6, 4), normal(4, 6))
    assert gradcheck(ff.gated_feedforward, inputs)
    experts = (normal(5, 4), normal(3, 4), normal(3, 6, 4), normal(3, 6, 4), normal(3, 4, 6))
    assert gradcheck(lambda *x: ff.mixture_of_experts(*x)[0], experts)


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
    model = torch.nn.Sequential(
        ff.FeedforwardLayer(4, 16),
        ff.GatedFeedforward(16, 8),
        ff.MixtureOfExperts(16, 8, 4),
        ff.FeedforwardLayer(16, 1, "identity"),
    )
    x = torch.randn(64, 4)
    y = x[:, :1] * x[:, 1:2]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_what_is_not_supported_is_an_error():
    x = normal(2, 4)
    y = ff.FeedforwardLayer(4, 3, dtype=F64)(x)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(TypeError, match="float64"):
        ff.FeedforwardLayer(4, 3)(x)
    with pytest.raises(ValueError, match="rleu"):
        ff.FeedforwardLayer(4, 3, "rleu")


def test_a_changed_input_is_noticed():
    layer = ff.FeedforwardLayer(4, 3)
    y = layer(torch.ones(2, 4))
    with torch.no_grad():
        layer.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        y.sum().backward()
