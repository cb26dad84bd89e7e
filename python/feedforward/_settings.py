"""Settings of a recipe from Python's values to TOML."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any


def assignments(settings: Mapping[str, Any], inside: str = "") -> Iterator[str]:
    """`key=value` for each setting; keys may be dotted, tables may be nested."""
    for key, value in settings.items():
        if not isinstance(key, str):
            raise TypeError(f"settings have names, found the key {key!r}")
        # At the top a dot separates tables; within a table it is part of a name.
        part = key if not inside else _quoted_key(key)
        name = f"{inside}.{part}" if inside else part
        if isinstance(value, Mapping):
            yield from assignments(value, name)
        elif value is not None:
            yield f"{name}={toml(value, name)}"


def _quoted_key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "a").replace("-", "a").isalnum()
    return key if bare else _text(key)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml(value: Any, name: str = "") -> str:
    """A value as TOML."""
    if (
        hasattr(value, "item")
        and not isinstance(value, (str, bytes))
        and not hasattr(value, "__len__")
    ):
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, os.PathLike)):
        return _text(os.fspath(value))
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{_quoted_key(k)} = {toml(v, name)}" for k, v in value.items()) + "}"
        )
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item, name) for item in value) + "]"
    if hasattr(value, "tolist"):
        return toml(value.tolist(), name)
    raise TypeError(
        f"setting `{name}` is {type(value).__name__}: expected a number, a text, a truth value, a "
        "list or a dict"
    )


def text(recipe: Mapping[str, Any]) -> str:
    """A recipe as TOML."""
    return "".join(f"{line}\n" for line in assignments(recipe))
