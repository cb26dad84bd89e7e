"""The feedforward layer over NumPy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from feedforward._core import activations, initial_weight
from feedforward._operation import operation

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from feedforward._core import Recorded


class FeedforwardLayer:
    """A feedforward layer, y = f(x Wᵀ + b), with its backward pass.

    >>> layer = FeedforwardLayer(3, 2, activation="tanh")
    >>> y = layer.forward(x)  # [N, 3] to [N, 2]
    >>> dx = layer.backward(dy)  # and layer.dW, layer.db

    ``W`` is ``[output_size, input_size]`` and starts with He's initialisation for ReLU and its
    variants, LeCun's for SELU, and Xavier's for the others; ``b`` starts at 0. Both are ordinary
    arrays, to be changed in place or replaced.

    With ``layout="columns"``, examples are the columns: x is ``[input_size, N]``, y
    ``[output_size, N]`` and b ``[output_size, 1]``, so that y = f(W @ x + b).
    """

    W: NDArray[Any]
    b: NDArray[Any] | None
    dW: NDArray[Any] | None
    db: NDArray[Any] | None

    def __init__(
        self,
        input_size: int,
        output_size: int,
        activation: str = "relu",
        *,
        bias: bool = True,
        dtype: DTypeLike = "float32",
        layout: Literal["rows", "columns"] = "rows",
        seed: int = 0,
    ) -> None:
        if layout not in ("rows", "columns"):
            raise ValueError(f"layout {layout!r}: expected 'rows' or 'columns'")
        for name, size in (("input_size", input_size), ("output_size", output_size)):
            if isinstance(size, bool) or size != int(size) or size < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, found {size}")
        if activation not in activations():
            names = ", ".join(activations())
            raise ValueError(f"unknown activation {activation!r}; expected one of {names}")
        self.input_size, self.output_size = int(input_size), int(output_size)
        self.activation, self.layout = activation, layout
        shape = (self.output_size, self.input_size)
        self.W = initial_weight(shape, activation, dtype, seed)
        self.b = None
        if bias:
            b = self.W[:, :1] * 0
            self.b = b if layout == "columns" else b.reshape(-1)
        self.dW = self.db = None
        attributes = {"activation": activation}
        self._operation = operation("feedforward", 2 + bias, attributes)
        self._recorded: Recorded | None = None

    def __call__(self, x: ArrayLike) -> NDArray[Any]:
        """The output; nothing is kept for a backward pass."""
        y: NDArray[Any]
        if self.layout == "columns":
            y = self._operation(*self._columns(x))
            return y.T
        if isinstance(x, (list, tuple)):
            x = self._read(x)
        y = self._operation(x, self.W) if self.b is None else self._operation(x, self.W, self.b)
        return y

    def forward(self, x: ArrayLike) -> NDArray[Any]:
        """The output; what :meth:`backward` needs is kept until the next call."""
        y: NDArray[Any]
        if self.layout == "columns":
            y, self._recorded = self._operation.record(*self._columns(x))
            return y.T
        if isinstance(x, (list, tuple)):
            x = self._read(x)
        if self.b is None:
            y, self._recorded = self._operation.record(x, self.W)
        else:
            y, self._recorded = self._operation.record(x, self.W, self.b)
        return y

    def backward(self, dy: ArrayLike) -> NDArray[Any]:
        """The gradient dx of the input of the last :meth:`forward`; sets ``dW`` and ``db``."""
        if self._recorded is None:
            raise RuntimeError("call forward(x) before backward(dy)")
        dx: NDArray[Any]
        db: list[NDArray[Any]]
        if self.layout != "columns":
            dx, self.dW, *db = self._recorded.backward(dy)
            self.db = db[0] if db else None
            return dx
        dx, self.dW, *db = self._recorded.backward(_transposed(dy, "dy"))
        self.db = db[0].reshape(-1, 1) if db else None
        return dx.T

    def _columns(self, x: ArrayLike) -> tuple[Any, ...]:
        inputs = (_transposed(self._read(x), "x"), self.W)
        return inputs if self.b is None else (*inputs, self.b.reshape(-1))

    def _read(self, x: ArrayLike) -> Any:
        """Lists as arrays of the layer's type."""
        import numpy as np

        return np.asarray(x, self.W.dtype) if isinstance(x, (list, tuple)) else x

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_recorded": None}

    def __repr__(self) -> str:
        text = f"FeedforwardLayer({self.input_size}, {self.output_size}, {self.activation!r}"
        if self.b is None:
            text += ", bias=False"
        if self.layout == "columns":
            text += ", layout='columns'"
        return text + ")"


def _transposed(x: ArrayLike, name: str) -> Any:
    import numpy as np

    x = np.asarray(x)
    if x.ndim != 2:
        raise ValueError(f"{name} must be [features, N], found shape {x.shape}")
    return x.T
