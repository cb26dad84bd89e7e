"""The extension module."""

import os
from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike, DTypeLike, NDArray

PathLike = str | os.PathLike[str]

class Operation:
    """An operation with its attributes, for so many inputs."""

    def __new__(cls, name: str, inputs: int, **attributes: Any) -> Operation: ...
    def __call__(self, *inputs: ArrayLike) -> Any: ...
    def record(
        self,
        *inputs: ArrayLike,
        need: list[bool] | None = None,
        training: bool = True,
        seed: int = 0,
    ) -> tuple[Any, Recorded]: ...

class Recorded:
    """What the backward pass of an operation reads."""

    def backward(self, *dy: ArrayLike | None) -> tuple[NDArray[Any] | None, ...]: ...

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

def activations() -> list[str]: ...
def initial_weight(shape: tuple[int, int], f: str, dtype: DTypeLike, seed: int) -> NDArray[Any]: ...

class Rows:
    """A table in memory."""

    def __new__(cls, columns: list[tuple[str, Any, bool]]) -> Rows: ...
    @staticmethod
    def arrow(bytes: bytes) -> Rows: ...

Tables = list[tuple[str, Rows]]
Tell = Callable[[str, str], Any]

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
        tables: Tables,
        tell: Tell,
        *,
        out: PathLike | None = None,
        threads: int = 0,
        watch: bool = False,
    ) -> str: ...
    def plan(self, tables: Tables, tell: Tell, *, threads: int = 0) -> str: ...
    def columns(self, tables: Tables) -> list[str]: ...

class TableModel:
    """A trained model of tables."""

    def __new__(cls, path: PathLike, *, threads: int = 0) -> TableModel: ...
    def facts(self) -> tuple[str, str, list[str]]: ...
    def classes(self) -> list[Any]: ...
    def predict(
        self, data: PathLike, tables: Tables
    ) -> tuple[NDArray[Any], NDArray[Any] | None, list[str]]: ...
    def spread(self, data: PathLike, tables: Tables) -> NDArray[Any]: ...
    def interval(self, data: PathLike, tables: Tables, level: float) -> Any: ...

class LanguageModel:
    """A language model that writes."""

    def __new__(
        cls,
        path: PathLike,
        *,
        adapter: PathLike | None = None,
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
    ) -> list[tuple[str, list[int], str]]: ...

def resume(
    run: PathLike, tables: Tables, tell: Tell, *, threads: int = 0, watch: bool = False
) -> str: ...
def evaluate(
    run: PathLike,
    data: PathLike | None,
    tables: Tables,
    *,
    sets: list[str] = ...,
    adapter: PathLike | None = None,
    text_column: str | None = None,
    threads: int = 0,
) -> str: ...
def predict_file(
    run: PathLike,
    data: PathLike,
    tables: Tables,
    out: PathLike,
    tell: Tell,
    *,
    proba: bool = False,
    spread: bool = False,
    interval: float | None = None,
    sets: list[str] = ...,
    force: bool = False,
    threads: int = 0,
) -> str: ...
def inspect(path: PathLike) -> str: ...
def run_folder(path: PathLike) -> str: ...
def is_language(path: PathLike) -> bool: ...

class Optimizer:
    """The state of an optimiser for some arrays."""

    def __new__(cls, settings: str, arrays: list[tuple[str, ArrayLike]]) -> Optimizer: ...
    @property
    def lr(self) -> float: ...
    def step(
        self, arrays: list[NDArray[Any]], gradients: list[ArrayLike], lr: float, count: float
    ) -> float: ...

class Schedule:
    """A learning rate over time."""

    def __new__(cls, settings: str, lr: float) -> Schedule: ...
    def rate(self, step: int, total: int) -> float: ...
    def observe(self, score: float, higher_is_better: bool) -> float | None: ...

class Tokenizer:
    """Text to ids, and ids to text."""

    def __new__(cls, path: PathLike) -> Tokenizer: ...
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
    def save(self, folder: PathLike) -> None: ...

def read_tensors(path: PathLike) -> list[tuple[str, str, list[int], bytes]]: ...
def write_tensors(path: PathLike, tensors: list[tuple[str, str, list[int], bytes]]) -> None: ...
