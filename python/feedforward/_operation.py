"""Operations of the library, made once for each set of attributes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from feedforward._core import Operation

if TYPE_CHECKING:
    from collections.abc import Mapping


@lru_cache(maxsize=1024)
def _made(name: str, inputs: int, attributes: tuple[tuple[str, Any], ...]) -> Operation:
    return Operation(name, inputs, **dict(attributes))


def operation(name: str, inputs: int, attributes: Mapping[str, Any] | None = None) -> Operation:
    """The operation of this name for so many inputs."""
    given = sorted((attributes or {}).items())
    return _made(name, inputs, tuple((key, _hashable(value)) for key, value in given))


def _hashable(value: Any) -> Any:
    """Lists and arrays of numbers as tuples."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return tuple(value) if isinstance(value, list) else value
