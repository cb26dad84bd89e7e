"""Files of named tensors: safetensors, and state dicts of PyTorch without PyTorch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from feedforward import _core

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

PathLike = str | os.PathLike[str]

_NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
_STORED = {name.lstrip("<"): stored for stored, name in _NUMPY.items()}


def load_tensors(path: PathLike) -> dict[str, NDArray[Any]]:
    """The tensors of a file by name: safetensors, or `.pt` and `.pth` of `torch.save`.

    Files of PyTorch are read by feedforward's own reader, which knows tensors and plain containers;
    anything else is refused by name, and nothing in a file is ever executed. bfloat16, which NumPy
    lacks, becomes float32.
    """
    import numpy as np

    tensors = {}
    for name, dtype, shape, data in _core.read_tensors(os.fspath(path)):
        if dtype == "BF16":
            wide = np.frombuffer(data, "<u2").astype("<u4") << 16
            array = wide.view("<f4")
        elif dtype in _NUMPY:
            array = np.frombuffer(data, _NUMPY[dtype]).copy()
        else:
            raise TypeError(f"tensor `{name}` is of type {dtype}, which NumPy has no type for")
        tensors[name] = array.reshape(shape)
    return tensors


def save_tensors(tensors: Mapping[str, ArrayLike], path: PathLike) -> None:
    """Writes arrays as a safetensors file, which PyTorch and others open."""
    import numpy as np

    stored = []
    for name, values in tensors.items():
        array = np.ascontiguousarray(values)
        kind = array.dtype.newbyteorder("<").str.lstrip("<|")
        dtype = _STORED.get("?" if kind == "b1" else kind)
        if dtype is None:
            raise TypeError(f"`{name}` holds {array.dtype}: expected numbers or truth values")
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        stored.append((name, dtype, list(np.shape(values)), little.tobytes()))
    _core.write_tensors(os.fspath(path), stored)
