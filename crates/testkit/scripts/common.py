"""Code shared by both fixture scripts: reading inputs, parsing attributes of operations, writing files.

The inputs come from `cargo run -p ff-testkit --example fixture_inputs FILE`; the operations' attributes are what Rust
prints of them, for example `Feedforward { activation: LeakyRelu { slope: 0.01 }, bias: true }`.
"""

import json
import platform
import re
import struct
import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"

TOKEN = re.compile(r"\s*(-?(?:inf|NaN)\b|-?\d[\d.eE+-]*|[A-Za-z_]\w*|[{}()\[\],:])")


class Attributes:
    """A Rust struct or enum variant: its name and its fields."""

    def __init__(self, name, fields):
        self.name = name
        self.fields = fields
        self.__dict__.update(fields)


class Parser:
    """Parses the output of `{:?}`."""

    def __init__(self, text):
        self.tokens = TOKEN.findall(text)
        self.at = 0

    def next(self):
        self.at += 1
        return self.tokens[self.at - 1]

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def value(self):
        token = self.next()
        if token == "[":
            return self.until("]", self.value)
        if re.match(r"-?(\d|inf|NaN)", token):
            return float(token) if re.search(r"[.eEnN]", token) else int(token)
        if token in ("true", "false"):
            return token == "true"
        if token == "None":
            return None
        if self.peek() == "(":
            self.next()
            values = self.until(")", self.value)
            return values[0] if token == "Some" else Attributes(token, {"values": values})
        if self.peek() == "{":
            self.next()
            return Attributes(token, dict(self.until("}", self.field)))
        return Attributes(token, {})

    def field(self):
        name = self.next()
        assert self.next() == ":", name
        return name, self.value()

    def until(self, end, item):
        items = []
        while self.peek() != end:
            items.append(item())
            if self.peek() == ",":
                self.next()
        self.next()
        return items


class Case:
    """A case: its name, its operation with attributes, its inputs, which of them are differentiated, and dy."""

    def __init__(self, name, metadata, file):
        self.name = name
        self.op, self.variant = name.split("/")
        self.debug = metadata[name]
        self.attributes = Parser(self.debug).value()
        self.grad = [flag == "1" for flag in metadata[name + "/grad"]]
        self.x = [file.get_tensor(f"{name}/x{i}") for i in range(len(self.grad))]
        keys = [key for key in file.keys() if re.fullmatch(re.escape(name) + r"/dy\d+", key)]
        self.dy = {int(key.rsplit("dy", 1)[1]): file.get_tensor(key) for key in keys}


def main(framework, folder, handlers, compute):
    """Computes the cases of the operations named on the command line, or of all, and writes one file per operation.

    `compute(handler, case)` gives the outputs and the gradients (None where an input has none), or None where this
    framework means something else by the case.
    """
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} INPUTS [OPERATION…] (inputs from the example fixture_inputs)")
    with safe_open(sys.argv[1], "np") as file:
        metadata, only = file.metadata(), sys.argv[2:]
        names = sorted(name for name in metadata if not name.endswith("/grad"))
        names = [name for name in names if not only or name.split("/")[0] in only]
        cases = [Case(name, metadata, file) for name in names]
    versions = {"framework": framework, "numpy": np.__version__, "python": platform.python_version()}
    files, missing = {}, set()
    for case in cases:
        handler = handlers.get(case.op)
        result = compute(handler, case) if handler else None
        if result is None:
            missing.add(case.op if handler is None else case.name)
            continue
        outputs, gradients = result
        tensors, notes = files.setdefault(case.op, ({}, dict(versions)))
        notes[case.name] = case.debug
        for i, x in enumerate(case.x):
            tensors[f"{case.name}/x{i}"] = x
        for j, y in enumerate(outputs):
            tensors[f"{case.name}/y{j}"] = np.asarray(y, np.float64)
        for j, dy in case.dy.items():
            tensors[f"{case.name}/dy{j}"] = dy
        for i, dx in enumerate(gradients):
            if dx is not None:
                tensors[f"{case.name}/dx{i}"] = np.asarray(dx, np.float64)
    (FIXTURES / folder).mkdir(parents=True, exist_ok=True)
    for op, (tensors, notes) in files.items():
        path = FIXTURES / folder / f"{op}.safetensors"
        save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, path, notes)
        sort_header(path)
    print(f"{sum(len(t) for t, _ in files.values())} tensors in {len(files)} files; without fixture: {sorted(missing)}")


def sort_header(path):
    """Writes the header with sorted keys, so that the same numbers give the same bytes."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(dict(sorted(header.items())), separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
