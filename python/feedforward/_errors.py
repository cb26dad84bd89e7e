"""The exceptions of the package. Each message says what is wrong and where, `help` what to do."""

from __future__ import annotations

from typing import Any


class Error(Exception):
    """Any error of feedforward's library."""

    def __init__(
        self,
        message: str,
        *,
        help: str = "",
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        key: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.help = help
        self.file, self.line, self.column, self.key = file, line, column, key

    def __str__(self) -> str:
        return f"{self.message}\nhelp: {self.help}" if self.help else self.message

    def __reduce__(self) -> Any:
        return (_made, (type(self), self.message, dict(self.__dict__)))


def _made(kind: type[Error], message: str, values: dict[str, Any]) -> Error:
    error = kind(message)
    error.__dict__.update(values)
    return error


class UsageError(Error, ValueError):
    """What was asked for makes no sense."""


class RecipeError(Error, ValueError):
    """A recipe or a setting is not right: `file`, `line`, `column` and `key` say where."""


class DataError(Error, ValueError):
    """A table or a text is not right."""


class RunError(Error, ValueError):
    """The folder of a run or a model is not what it should be."""


class NotFoundError(Error, FileNotFoundError):
    """There is no such file, run or model."""


class FileError(Error, OSError):
    """A file cannot be read or written."""


class PermissionDeniedError(FileError, PermissionError):
    """This user may not read or write there."""


class TrainingError(Error, RuntimeError):
    """Training failed: it diverged, or a step could not be computed."""


class OutOfMemoryError(Error, MemoryError):
    """Memory is short."""
