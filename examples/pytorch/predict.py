"""Loads a model trained by `feedforward` and runs it with only json, safetensors and PyTorch.

    feedforward train datasets/iris.csv --target species --out runs/iris
    feedforward predict runs/iris --data datasets/iris.csv --proba --out predicted.csv
    python examples/pytorch/predict.py runs/iris datasets/iris.csv --expect predicted.csv

The first argument is a run or its `model/` folder, the second a CSV file with a header. Without `--expect`, predictions
are printed as CSV. With it, they are compared with those of the file; the exit code is 1 if any differs by more than
`--tolerance`, in units of probability or in standard deviations of a numeric target.

The folder of a model holds three files:

* `config.json`: the task, the classes in the order of the outputs, the decision threshold and the network;
* `transforms.json`: how each column's cells become numbers (or an embedding id), in the order of the inputs;
* `model.safetensors`: the parameters, under the names of the PyTorch module below, for `load_state_dict`.

Requires `pip install torch safetensors`.
"""

import argparse
import csv
import json
import math
import sys
from bisect import bisect_left, bisect_right
from datetime import datetime, timezone
from decimal import Decimal
from functools import partial
from inspect import signature
from pathlib import Path
from statistics import NormalDist

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from functions import ACTIVATIONS

# The network ----------------------------------------------------------------------------------------------------------


def activation(network):
    """The activation of a hidden layer; PReLU has a parameter and is a module, all others are functions."""
    name = network["activation"]
    if name == "prelu":
        return nn.PReLU()
    function = ACTIVATIONS[name]
    given = {key: network.get(key) for key in signature(function).parameters if network.get(key) is not None}
    return partial(function, **given)


def parameter(*shape):
    return nn.Parameter(torch.empty(shape))


class Hidden(nn.Linear):
    """y = activation(norm(z)), plus x if `residual` is set and the widths agree.

    z = x Wᵀ + b. The members of an ensemble share W, and each has its own r, s and b: z = ((x ⊙ r) Wᵀ) ⊙ s + b, for
    `[N, members, width]`. It is a Linear with parts of its own, so that its weight is `layers.0.weight` and its norm's
    `layers.0.norm.weight`. Dropout does nothing in evaluation and is left out.
    """

    def __init__(self, width, units, network):
        members = network["members"]
        super().__init__(width, units, bias=network["bias"] and members == 1)
        if members > 1:
            self.r, self.s = parameter(members, width), parameter(members, units)
            self.bias = parameter(members, units)
        self.members = members
        self.norm = {
            "none": nn.Identity,
            "batch": lambda: nn.BatchNorm1d(units, eps=1e-5),
            "layer": lambda: nn.LayerNorm(units, eps=1e-5),
            "rms": lambda: nn.RMSNorm(units, eps=1e-5),
        }[network["norm"]]()
        self.activation = activation(network)
        self.residual = network["residual"] and width == units

    def forward(self, x):
        if self.members == 1:
            z = super().forward(x)
        else:
            z = functional.linear(x * self.r, self.weight) * self.s + self.bias
        # A batch norm counts rows and members as one dimension.
        y = self.activation(self.norm(z.flatten(0, -2)).view_as(z))
        return x + y if self.residual else y


class MemberOutput(nn.Module):
    """A linear layer for each member: `[N, members, width]` → `[N, members, outputs]`."""

    def __init__(self, members, width, outputs):
        super().__init__()
        self.weight, self.bias = parameter(members, outputs, width), parameter(members, outputs)

    def forward(self, x):
        return torch.einsum("nmi,moi->nmo", x, self.weight) + self.bias


class Piecewise(nn.Module):
    """Numbers as learned vectors x w + b + PLE(x) V; a column without bins passes through."""

    def __init__(self, counts, dim):
        super().__init__()
        self.counts = counts
        embedded, most = sum(count > 0 for count in counts), max(counts)
        self.register_buffer("edges", torch.empty(embedded, most + 1))
        self.weight, self.bias = parameter(embedded, dim), parameter(embedded, dim)
        self.bins = parameter(embedded, most, dim)

    def forward(self, x):
        parts, i = [], 0
        for column, count in enumerate(self.counts):
            values = x[:, column : column + 1]
            if count > 0:
                edges = self.edges[i, : count + 1]
                code = (values - edges[:-1]) / edges.diff()
                # The first bin is open below, the last above.
                low, high = torch.zeros(count), torch.ones(count)
                low[0], high[-1] = -torch.inf, torch.inf
                code = code.clamp(low, high)
                values = values * self.weight[i] + self.bias[i] + code @ self.bins[i, :count]
                i += 1
            parts.append(values)
        return torch.cat(parts, dim=1)


class Network(nn.Module):
    """Numbers `[N, numeric]` and ids `[N, categories]` → `[N, outputs]`, or `[N, members, outputs]`."""

    def __init__(self, config):
        super().__init__()
        network = {"members": 1} | config["network"]
        dims = [network.get("embedding_dim") or self.usual_dim(n) for n in config["cardinalities"]]
        self.embeddings = nn.ModuleList(map(nn.Embedding, config["cardinalities"], dims))
        numeric, counts = config["numeric"], config.get("bins") or []
        self.numeric = Piecewise(counts, network["numeric_dim"]) if any(counts) else nn.Identity()
        numeric += sum(network["numeric_dim"] - 1 for count in counts if count > 0)
        widths = [numeric + sum(dims), *network["hidden"]]
        layers = (Hidden(a, b, network) for a, b in zip(widths, widths[1:]))
        self.layers = nn.ModuleList(layers)
        self.members = network["members"]
        if self.members > 1:
            self.output = MemberOutput(self.members, widths[-1], config["outputs"])
        else:
            self.output = nn.Linear(widths[-1], config["outputs"], bias=network["bias"])

    @staticmethod
    def usual_dim(cardinality):
        return min(max(math.ceil(math.sqrt(cardinality)), 2), 64)

    def forward(self, numeric, ids):
        x = torch.cat([self.numeric(numeric), *(e(ids[:, i]) for i, e in enumerate(self.embeddings))], dim=1)
        if self.members > 1:
            x = x[:, None].expand(-1, self.members, -1)
        for layer in self.layers:
            x = layer(x)
        return self.output(x)


def load_network(folder, config):
    network = Network(config["network"])
    missing, unexpected = network.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    # PyTorch counts the batches of a batch norm, but ignores the count in evaluation.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        sys.exit(f"the tensors do not fit the network: missing {missing}, unexpected {unexpected}")
    return network.eval()


# From cells to numbers ------------------------------------------------------------------------------------------------


def parse_number(text):
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def format_number(x):
    """The shortest text that parses to the same double, the form of numeric categories."""
    text = repr(x)
    if x == 0 or 1e-5 <= abs(x) < 1e16:
        text = format(Decimal(text), "f")
        return text[:-2] if text.endswith(".0") else text
    mantissa, exponent = text.split("e")
    return f"{mantissa}e{int(exponent)}"


def scale(scaler, x):
    if scaler["how"] == "linear":
        return (x - scaler["shift"]) / scaler["scale"]
    if scaler["how"] == "quantile":
        rank = quantile_rank(scaler["references"], x)
        return NormalDist().inv_cdf(min(max(rank, 1e-7), 1 - 1e-7)) if scaler["normal"] else rank
    return x


def quantile_rank(references, x):
    last = len(references) - 1
    if x <= references[0] or x >= references[last]:
        return float(x > references[0])
    below, upto = bisect_left(references, x), bisect_right(references, x)
    if upto > below:
        return (below + upto - 1) / 2 / last
    low, high = references[below - 1], references[below]
    return (below - 1 + (x - low) / (high - low)) / last


def stands_for_nothing(x):
    """The largest numbers of float and double, and netCDF's, stand for no value, as infinity does."""
    single = torch.tensor([abs(x), torch.finfo(torch.float32).max, 9.96921e36]).float()
    return abs(x) == sys.float_info.max or bool(single[0] in single[1:])


def encode_number(e, cell):
    x = None if cell is None or cell in e.get("missing_texts", []) else parse_number(cell)
    if cell is not None and x is None and cell not in e.get("missing_texts", []):
        raise ValueError(f"expected a number, found {cell!r}")
    if x is not None and (not math.isfinite(x) or stands_for_nothing(x) or e["log"] and x <= -1):
        x = None
    value = e["fill"] if x is None else x
    if x is not None and "range" in e:
        # A value far outside the training range is cut off.
        low, high = e["range"]
        far = 1000 * (high - low if high > low else max(abs(low), 1))
        value = min(max(value, low - far), high + far)
    value = scale(e["scaler"], math.log1p(value) if e["log"] else value)
    if e.get("clip") is not None:
        value = min(max(value, -e["clip"]), e["clip"])
    return [value] + [float(x is None)] * e["flag"]


def encode_boolean(e, cell):
    if cell is None:
        return [e["fill"]] + [1.0] * e["flag"]
    words = {"false": 0.0, "true": 1.0, e["no"].lower(): 0.0, e["yes"].lower(): 1.0}
    truth = words.get(cell.lower(), parse_number(cell))
    if truth not in (0.0, 1.0):
        raise ValueError(f"expected {e['no']!r} or {e['yes']!r}, found {cell!r}")
    return [truth] + [0.0] * e["flag"]


def category_id(e, cell):
    """0 for rare and unseen values, 1 to n for the values in their order, n + 1 for missing."""
    if cell is not None and e["numeric"] and (x := parse_number(cell)) is not None:
        cell = format_number(x)
    if cell is None:
        return len(e["values"]) + 1 if e["missing"] else 0
    return e["values"].index(cell) + 1 if cell in e["values"] else 0


def encode_one_hot(e, cell):
    """One column per value, then one for rare and one for missing values, if training rows had them."""
    n, at = len(e["values"]), category_id(e, cell)
    row = [0.0] * (n + e["rare"] + e["missing"])
    if at > n:
        row[n + e["rare"]] = 1.0
    elif at > 0:
        row[at - 1] = 1.0
    elif e["rare"]:
        row[n] = 1.0
    else:
        # An unseen value is the mean of the training rows.
        row = list(e.get("shares", row))
    return row


def encode_date(e, cell):
    if cell is None:
        return [0.0] * len(e["parts"]) + [1.0] * e["flag"]
    iso = e["text_format"] == "iso"
    time = datetime.fromisoformat(cell) if iso else datetime.strptime(cell, e["text_format"])
    time = time.replace(tzinfo=timezone.utc) if time.tzinfo is None else time.astimezone(timezone.utc)
    parts = {
        "year": time.year,
        "month": time.month,
        "day": time.day,
        "weekday": time.weekday(),
        "hour": time.hour + time.minute / 60,
        "days_since_epoch": time.timestamp() / 86_400,
    }
    return [scale(scaler, parts[name]) for name, scaler in e["parts"]] + [0.0] * e["flag"]


ENCODERS = {"number": encode_number, "boolean": encode_boolean, "date": encode_date}


def encode(transforms, rows):
    """The rows of a CSV file as numbers `[N, numeric]` and ids `[N, categories]`."""
    nulls = {text.strip() for text in transforms["null_values"]}
    numeric, ids = [], []
    for line, row in enumerate(rows, start=2):
        numbers, categories = [], []
        for column in transforms["columns"]:
            e, cell = column["encoder"], row[column["name"]].strip()
            cell = None if cell in nulls else cell
            try:
                if e["kind"] != "category":
                    numbers += ENCODERS[e["kind"]](e, cell)
                elif e["coding"] == "embedding":
                    categories.append(category_id(e, cell))
                else:
                    numbers += encode_one_hot(e, cell)
            except ValueError as error:
                sys.exit(f"line {line}, column {column['name']}: {error}")
        numeric.append(numbers)
        ids.append(categories)
    # Scaled in double precision, then rounded once: bit-identical to the training input of the
    # network.
    return torch.tensor(numeric, dtype=torch.float64).float(), torch.tensor(ids, dtype=torch.long)


# From outputs to predictions ------------------------------------------------------------------------------------------


def predictions(config, transforms, outputs):
    """Column names with lists of values: `prediction`, then `probability_<class>` for classes.

    Outputs are `[N, outputs]`, or `[N, members, outputs]`, whose numbers or probabilities are averaged.
    """
    classes = config["classes"]
    outputs = outputs.double()
    if not classes:
        target = transforms["target"]
        mean = outputs.mean(dim=1) if outputs.dim() == 3 else outputs
        values = mean[:, 0] * target["std"] + target["mean"]
        return {"prediction": (values.expm1() if target["log"] else values).tolist()}
    if outputs.shape[-1] == 1:
        p = torch.sigmoid(outputs)
        p = torch.cat([1 - p, p], dim=-1)
    else:
        p = torch.softmax(outputs, dim=-1)
    if p.dim() == 3:
        p = p.mean(dim=1)
    chosen = p.argmax(dim=1)
    if config["threshold"] is not None:
        positive = 1 if config["positive"] is None else config["positive"]
        chosen = torch.where(p[:, positive] >= config["threshold"], positive, 1 - positive)
    columns = {"prediction": [classes[i] for i in chosen]}
    return columns | {f"probability_{name}": p[:, i].tolist() for i, name in enumerate(classes)}


def compare(ours, expected, unit):
    """The largest difference of numbers, in units of `unit`, and the number of different decisions."""
    largest, other = 0.0, 0
    for name, values in ours.items():
        for value, row in zip(values, expected, strict=True):
            if isinstance(value, str):
                other += value != row[name]
            else:
                largest = max(largest, abs(value - float(row[name])) / unit)
    return largest, other


def read_csv(path):
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run, or its model/ folder")
    parser.add_argument("data", type=Path, help="a CSV file with a header")
    parser.add_argument("--expect", type=Path, help="what `feedforward predict --proba` wrote for it")
    parser.add_argument("--tolerance", type=float, default=1e-5)
    arguments = parser.parse_args()

    folder = arguments.run / "model" if (arguments.run / "model").is_dir() else arguments.run
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    transforms = json.loads((folder / "transforms.json").read_text(encoding="utf-8"))
    network = load_network(folder, config)
    with torch.inference_mode():
        outputs = network(*encode(transforms, read_csv(arguments.data)))
    columns = predictions(config, transforms, outputs)

    if arguments.expect is None:
        writer = csv.writer(sys.stdout)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values()))
        return
    unit = 1.0 if config["classes"] else transforms["target"]["std"]
    largest, other = compare(columns, read_csv(arguments.expect), unit)
    rows = len(columns["prediction"])
    print(f"{rows} rows: largest difference {largest:.2e}, {other} other decisions")
    if not largest <= arguments.tolerance:
        sys.exit(f"the difference is larger than {arguments.tolerance:g}")


if __name__ == "__main__":
    main()
