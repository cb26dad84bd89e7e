"""The extension module."""

import os
from collections.abc import Callable, Sequence
from typing import Any, final

from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = [
    "Job",
    "LanguageModel",
    "Network",
    "Operation",
    "Optimizer",
    "Recorded",
    "Rows",
    "Schedule",
    "TableModel",
    "Tokenizer",
    "activation_of_torch",
    "activations",
    "evaluate",
    "export",
    "import_model",
    "initial_weight",
    "inspect",
    "is_language",
    "operations",
    "predict_file",
    "read_tensors",
    "resume",
    "resume_tune",
    "run_folder",
    "tune",
    "write_tensors",
]

_PathLike = str | os.PathLike[str]

@final
class Operation:
    """An operation with its attributes, for so many inputs."""

    def __new__(cls, name: str, inputs: int, **attributes: Any) -> Operation: ...
    @property
    def name(self) -> str: ...
    def __call__(self, *inputs: ArrayLike) -> Any: ...
    def record(
        self,
        *inputs: ArrayLike,
        need: list[bool] | None = None,
        training: bool = True,
        seed: int = 0,
    ) -> tuple[Any, Recorded]: ...
    def compute(self, inputs: tuple[ArrayLike, ...], need: list[bool]) -> list[NDArray[Any]]: ...
    def saved(self, shapes: list[list[int]], need: list[bool]) -> list[list[int]]: ...
    def gradients(
        self,
        inputs: tuple[ArrayLike, ...],
        outputs: Sequence[ArrayLike],
        saved: Sequence[ArrayLike],
        dy: tuple[ArrayLike | None, ...],
        need: list[bool],
    ) -> tuple[NDArray[Any] | None, ...]: ...

@final
class Recorded:
    """What the backward pass of an operation reads."""

    def backward(self, *dy: ArrayLike | None) -> tuple[Any, ...]: ...

@final
class Network:
    """The network of an estimator."""

    def __new__(cls, config: str) -> Network: ...
    def fit(
        self,
        x: ArrayLike,
        y: ArrayLike,
        weights: ArrayLike | None,
        training: str,
        *,
        valid: tuple[ArrayLike, ArrayLike, ArrayLike | None] | None = None,
        resume: bool = False,
        callback: Callable[[dict[str, Any]], Any] | None = None,
    ) -> list[tuple[float, float | None]]: ...
    def outputs(self, x: ArrayLike, layers: int | None = None) -> NDArray[Any]: ...
    def parameters(self) -> list[tuple[str, NDArray[Any]]]: ...

def operations() -> list[str]: ...
def activations() -> list[str]: ...
def activation_of_torch(name: str) -> tuple[str, tuple[str, float] | None]: ...
def initial_weight(dims: tuple[int, int], f: str, dtype: DTypeLike, seed: int) -> NDArray[Any]: ...

@final
class Rows:
    """A table in memory."""

    def __new__(cls, columns: list[tuple[str, Any, bool]]) -> Rows: ...
    @staticmethod
    def arrow(bytes: bytes) -> Rows: ...

_Tables = list[tuple[str, Rows]]
_Tell = Callable[[str, str], Any]

@final
class Job:
    """What to train."""

    def __new__(
        cls,
        sets: list[str],
        *,
        path: str | None = None,
        text: str | None = None,
        table: str | None = None,
        quality: str | None = None,
    ) -> Job: ...
    def command(self) -> str: ...
    def toml(self) -> str: ...
    def train(
        self,
        tables: _Tables,
        tell: _Tell,
        *,
        out: _PathLike | None = None,
        threads: int = 0,
        watch: bool = False,
        budget: float | None = None,
    ) -> str: ...
    def plan(self, tables: _Tables, tell: _Tell, *, threads: int = 0) -> str: ...
    def columns(self, tables: _Tables) -> list[str]: ...

@final
class TableModel:
    """A trained model of tables."""

    def __new__(cls, path: _PathLike, *, threads: int = 0) -> TableModel: ...
    def facts(self) -> tuple[str, str, list[str]]: ...
    def classes(self) -> list[Any]: ...
    def predict(
        self, data: _PathLike, tables: _Tables
    ) -> tuple[NDArray[Any], NDArray[Any] | None, list[str]]: ...
    def spread(self, data: _PathLike, tables: _Tables) -> NDArray[Any]: ...
    def interval(self, data: _PathLike, tables: _Tables, level: float) -> Any: ...

@final
class LanguageModel:
    """A language model that writes."""

    def __new__(
        cls,
        path: _PathLike,
        *,
        adapter: _PathLike | None = None,
        bf16: bool = False,
        threads: int = 0,
    ) -> LanguageModel: ...
    def generate(
        self,
        prompts: list[str],
        *,
        on_text: Callable[[int, str], Any] | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        stop: list[str] = ...,
        seed: int = 0,
        ignore_end: bool = False,
        rule: tuple[str, str] | None = None,
    ) -> list[tuple[str, list[int], str]]: ...

def resume(
    run: _PathLike, tables: _Tables, tell: _Tell, *, threads: int = 0, watch: bool = False
) -> str: ...
def tune(
    job: Job, tables: _Tables, tell: _Tell, *, out: _PathLike | None = None, threads: int = 0
) -> str: ...
def resume_tune(
    folder: _PathLike, tables: _Tables, tell: _Tell, *, threads: int = 0
) -> str: ...
def export(
    model: _PathLike, to: str, out: _PathLike, *, dtype: str | None = None, threads: int = 0
) -> str: ...
def import_model(
    file: _PathLike, out: _PathLike, *, weights: _PathLike | None = None, threads: int = 0
) -> str: ...
def evaluate(
    run: _PathLike,
    data: _PathLike | None,
    tables: _Tables,
    *,
    sets: list[str] = ...,
    adapter: _PathLike | None = None,
    text_column: str | None = None,
    threads: int = 0,
) -> str: ...
def predict_file(
    run: _PathLike,
    data: _PathLike,
    tables: _Tables,
    out: _PathLike,
    tell: _Tell,
    *,
    proba: bool = False,
    spread: bool = False,
    interval: float | None = None,
    sets: list[str] = ...,
    force: bool = False,
    threads: int = 0,
) -> str: ...
def inspect(path: _PathLike) -> str: ...
def run_folder(path: _PathLike) -> str: ...
def is_language(path: _PathLike) -> bool: ...

@final
class Optimizer:
    """The state of an optimiser for some arrays."""

    def __new__(cls, settings: str, arrays: list[tuple[str, ArrayLike]]) -> Optimizer: ...
    @property
    def lr(self) -> float: ...
    def step(
        self, arrays: list[NDArray[Any]], gradients: list[ArrayLike], lr: float, count: float
    ) -> float: ...

@final
class Schedule:
    """A learning rate over time."""

    def __new__(cls, settings: str, lr: float) -> Schedule: ...
    def rate(self, step: int, total: int) -> float: ...
    def observe(self, score: float, higher_is_better: bool) -> float | None: ...

@final
class Tokenizer:
    """Text to ids, and ids to text."""

    def __new__(cls, path: _PathLike) -> Tokenizer: ...
    @staticmethod
    def train(
        files: str, kind: str, split: str, vocab_size: int, special: list[str], min_frequency: int
    ) -> Tokenizer: ...
    def encode(self, text: str, *, special: bool = False) -> list[int]: ...
    def encode_all(self, texts: list[str]) -> list[list[int]]: ...
    def decode(self, ids: list[int], *, special: bool = True) -> str: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def json(self) -> str: ...
    @property
    def special_tokens(self) -> list[tuple[str, int]]: ...
    def token(self, id: int) -> str | None: ...
    def id(self, token: str) -> int | None: ...
    def save(self, folder: _PathLike) -> None: ...

def read_tensors(path: _PathLike) -> list[tuple[str, str, list[int], bytes]]: ...
def write_tensors(path: _PathLike, tensors: list[tuple[str, str, list[int], bytes]]) -> None: ...
