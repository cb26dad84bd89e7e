"""Small networks of pytabkit's RealMLP-TD with its results in f64, one file each in fixtures/network.

    python crates/testkit/scripts/realmlp_fixtures.py

A file holds twenty batches `x` (numbers, then scaled one-hot columns, as pytabkit's preprocessing gives
them), `ids` and `y`, the parameters before under our names, the outputs `logits` of the first batch in
evaluation, the gradients of its loss as `grad.NAME`, and every parameter after twenty steps of
pytabkit's optimiser with its schedules, without dropout, as `after.NAME`. `raw` and `category` are the
values before preprocessing.

`periodic` is rtdl_num_embeddings' PeriodicEmbeddings before a linear layer, with twenty steps of gradient
descent.
"""

from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import torch
from pytabkit.models.data.data import DictDataset, TensorInfo
from pytabkit.models.nn_models.base import set_hp_context
from pytabkit.models.nn_models.models import NNFactory, PreprocessingFactory
from pytabkit.models.optim.optimizers import get_opt_class
from pytabkit.models.sklearn.default_params import DefaultParams
from pytabkit.models.training.coord import HyperparamManager
from pytabkit.models.training.metrics import cross_entropy, mse
from rtdl_num_embeddings import PeriodicEmbeddings
from safetensors.torch import save_file

FOLDER = Path(__file__).parent.parent / "fixtures" / "network"
ROWS, STEPS, NUMERIC, CLASSES, HIDDEN = 12, 20, 3, 3, [8, 8, 8]
# One of two values, one of four, and one of eleven, each with pytabkit's slot of missing values.
CATEGORIES = [3, 5, 12]

torch.set_default_dtype(torch.float64)
# pytabkit rounds smoothed labels and one-hot columns to f32 on the way; not here.
torch.Tensor.float = torch.Tensor.double
torch.float32 = torch.float64


def data(classes):
    n = ROWS * STEPS
    x = torch.randn(n, NUMERIC) * torch.tensor([1.0, 20.0, 0.1]) + 3.0
    ids = torch.stack([torch.randint(1, size, (n,)) for size in CATEGORIES], -1)
    y = torch.randint(0, classes, (n, 1)) if classes else torch.randn(n, 1) * 5 + 2
    infos = {
        "x_cont": TensorInfo(feat_shape=[NUMERIC]),
        "x_cat": TensorInfo(cat_sizes=CATEGORIES),
        "y": TensorInfo(cat_sizes=[classes]) if classes else TensorInfo(feat_shape=[1]),
    }
    return DictDataset({"x_cont": x, "x_cat": ids, "y": y}, infos)


def realmlp(classes):
    params = DefaultParams.RealMLP_TD_CLASS if classes else DefaultParams.RealMLP_TD_REG
    config = {**params, "hidden_sizes": HIDDEN, "p_drop": 0.0, "n_epochs": 1}
    ds = data(classes)
    manager = HyperparamManager(**config)
    manager.get_more_info_dict()["trainval_ds"] = ds
    with set_hp_context(manager), torch.no_grad():
        features, _ = PreprocessingFactory(**{**config, "tfms": config["tfms"][:-1]}).create(
            ds.tensor_infos
        ).fit_transform(ds)[1].split_xy()
        model, _ = NNFactory(**config).create(ds.tensor_infos).fit_transform(ds)
    model = model.double()
    for p in model.parameters():
        p.data = p.data.double()
    optimizer = get_opt_class("adam")([{"params": [p], "lr": 0.01} for p in model.parameters()], manager)
    named = {str(p.context.scope): p for p in model.parameters()}
    x = features.tensors["x_cont"]
    one_hot = x.shape[1] - NUMERIC
    width = config["plr_hidden_2"]
    # pytabkit has the waves of all numbers first, then the numbers; we have each number's together.
    m = width - 1
    order = [
        j for i in range(NUMERIC) for j in [*range(m * i, m * (i + 1)), m * NUMERIC + i]
    ] + list(range(width * NUMERIC, width * NUMERIC + one_hot + config["embedding_size"]))

    def ours(of):
        """The parameters under our names, of a function of pytabkit's; weights stand for W / √fan_in."""
        find = lambda part: next(of(p) for name, p in named.items() if part in name)
        result = {
            "numeric.frequencies": find("plr/weight_1")[:, 0],
            "numeric.phases": find("plr/bias_1")[:, 0],
            "numeric.weight": find("plr/weight_2").mT,
            "numeric.bias": find("plr/bias_2")[:, 0],
            "embeddings.0.weight": find("emb"),
            "input.scale": find("/scale").flatten()[order],
        }
        for i in range(len(HIDDEN) + 1):
            layer = "output" if i == len(HIDDEN) else f"layers.{i}"
            weight = find(f"layer-{i}/weight")
            result[f"{layer}.weight"] = (weight[order] if i == 0 else weight).mT
            result[f"{layer}.bias"] = find(f"layer-{i}/bias").flatten()
            if layer != "output":
                result[f"{layer}.activation.share"] = find(f"layer-{i}/act").flatten()
        return result

    def scaled(params, power):
        root = lambda name, v: v.shape[-1] ** power if name.endswith(".weight") and name[0] in "lo" else 1.0
        return {name: v * root(name, v) for name, v in params.items()}

    batch = lambda step: {k: v[step * ROWS : (step + 1) * ROWS] for k, v in ds.tensors.items()}
    y = ds.tensors["y"]
    result = {
        "raw": ds.tensors["x_cont"],
        "category": ds.tensors["x_cat"].int(),
        "x": x,
        "ids": ds.tensors["x_cat"][:, -1].int(),
        "y": y.flatten().int() if classes else ((y - y.mean(0)) / y.std(0, correction=0)).flatten(),
        "target": torch.stack([y.mean(), y.std(correction=0), y.min(), y.max()]) if not classes else torch.zeros(0),
        **scaled(ours(lambda p: p.detach().clone()), -0.5),
    }
    model.eval()
    inputs = {k: v for k, v in batch(0).items() if k != "y"}
    with torch.no_grad():
        result["logits"] = model.forward_tensors(inputs)["x_cont"]
    model.train()
    for step in range(STEPS):
        progress = SimpleNamespace(get_fit_progress=lambda: step / STEPS)
        manager.update_hypers(SimpleNamespace(progress=progress))
        with set_hp_context(manager):
            out = model.forward_tensors(batch(step))
        loss = (cross_entropy if classes else mse)(out["x_cont"], out["y"]).sum()
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            grads = scaled(ours(lambda p: p.grad.clone()), 0.5)
            result |= {f"grad.{name}": g for name, g in grads.items()}
        optimizer.step(loss=loss)
    after = scaled(ours(lambda p: p.detach().clone()), -0.5)
    return result | {f"after.{name}": p for name, p in after.items()}


def periodic():
    """Numbers as waves, a linear layer and ReLU, before one output layer."""
    layer = PeriodicEmbeddings(NUMERIC, 4, n_frequencies=5, frequency_init_scale=0.3, lite=False)
    output = torch.nn.Linear(NUMERIC * 4, 2)
    params = {
        "numeric.frequencies": layer.periodic.weight,
        "numeric.weight": layer.linear.weight,
        "numeric.bias": layer.linear.bias,
        "output.weight": output.weight,
        "output.bias": output.bias,
    }
    # The package keeps a column's layer as [in, out].
    ours = lambda name, p: p.mT if name == "numeric.weight" else p
    x = torch.randn(ROWS, NUMERIC)
    forward = lambda: output(layer(x).flatten(1))
    y = forward()
    dy = torch.randn_like(y)
    result = {"x": x, "y": y, "dy": dy} | {n: ours(n, p).detach().clone() for n, p in params.items()}
    for step in range(STEPS):
        gradients = torch.autograd.grad((forward() * dy).sum(), list(params.values()))
        with torch.no_grad():
            for (name, p), gradient in zip(params.items(), gradients):
                if step == 0:
                    result[f"grad.{name}"] = ours(name, gradient)
                p -= 0.01 * gradient
    return result | {f"after.{name}": ours(name, p) for name, p in params.items()}


if __name__ == "__main__":
    torch.manual_seed(3)
    for name, network in {
        "realmlp_class": realmlp(CLASSES),
        "realmlp_number": realmlp(0),
        "periodic": periodic(),
    }.items():
        tensors = {key: value.detach().contiguous().clone() for key, value in network.items()}
        note = f"pytabkit {version('pytabkit')}, torch {torch.__version__}"
        save_file(tensors, FOLDER / f"{name}.safetensors", {"framework": note})
