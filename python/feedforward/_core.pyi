"""The extension module."""

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike, DTypeLike, NDArray

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
