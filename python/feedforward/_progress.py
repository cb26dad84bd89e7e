"""Progress of a run: a changing line on terminals and in notebooks, plain lines elsewhere."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

Callback = Callable[[dict[str, Any]], Any]

# Seconds between lines that stay, after the first.
_LINES = 2.0


class Progress:
    """Shows the events of a run, and gives each epoch to a callback."""

    def __init__(self, quiet: bool, callback: Callback | None) -> None:
        if callback is not None and not callable(callback):
            raise TypeError(f"callback is {type(callback).__name__}: expected a function")
        self.quiet, self.callback = quiet, callback
        notebook = "ipykernel" in sys.modules
        self.out: Any = sys.stdout if notebook else sys.stderr
        self.live = notebook or bool(getattr(self.out, "isatty", bool)())
        self.run: str | None = None
        self.total = self.epochs = 0
        self.by_steps = False
        self.last: dict[str, Any] = {}
        self.lined, self.shown, self.width = 0.0, 0, 0

    def __call__(self, kind: str, values: str) -> bool:
        event = json.loads(values)
        if kind == "run":
            self.run = event["path"]
        if not self.quiet:
            handle = getattr(self, f"_{kind}", None)
            if handle is not None:
                handle(event)
        return bool(self.callback(event)) if kind == "epoch" and self.callback else False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, _: Any, error: BaseException | None, *rest: Any) -> None:
        if not self.quiet:
            self._clear()
            # The last epoch, if it is not shown yet.
            if self.last and self.last["epoch"] != self.shown:
                self._say(self._epoch_line(self.last))
        state = os.path.join(self.run or "", "checkpoints", "last.safetensors")
        if error is not None and self.run and os.path.exists(state) and hasattr(error, "add_note"):
            error.add_note(f"the run is saved: feedforward.resume({self.run!r}) continues it")

    def _say(self, line: str) -> None:
        self._clear()
        print(line, file=self.out, flush=True)
        self.lined = time.monotonic()

    def _draw(self, line: str) -> None:
        line = line[:118]
        self.out.write("\r" + line.ljust(self.width))
        self.out.flush()
        self.width = len(line)

    def _clear(self) -> None:
        if self.width:
            self.out.write("\r" + " " * self.width + "\r")
            self.width = 0

    def _phase(self, event: dict[str, Any]) -> None:
        if self.live:
            self._clear()
            self._draw(f"… {event['name']}")
        elif event["name"] != "training":
            self._say(f"… {event['name']}")

    def _data(self, event: dict[str, Any]) -> None:
        for note in event["notes"]:
            self._say(f"  {note}")

    def _text(self, event: dict[str, Any]) -> None:
        self._say(f"Text   {event['source']} · {event['tokenizer']}")

    def _model(self, event: dict[str, Any]) -> None:
        self.by_steps = event["steps"]
        self._say(f"Model  {event['layers']} · {event['parameters']:,} parameters")
        self._say(f"Train  {event['training']}")

    def _sample(self, event: dict[str, Any]) -> None:
        self._say(f"  {event['prompt']!r} → {event['text']!r}")

    def _start(self, event: dict[str, Any]) -> None:
        self.total = event["total_steps"]
        each = max(1, event["steps_per_epoch"])
        self.epochs = -(-self.total // each)
        if event["step"]:
            self._say(f"resuming at step {event['step']:,} of {self.total:,}")

    def _place(self, event: dict[str, Any]) -> str:
        if self.by_steps:
            return f"step {event['step']:,}/{self.total:,}"
        return f"epoch {event['epoch']}/{self.epochs}"

    def _step(self, event: dict[str, Any]) -> None:
        loss = event["loss"]
        text = self._place(event) + ("" if loss is None else f" · loss {loss:.4g}")
        if self.live:
            share = event["step"] / max(1, self.total)
            bar = "━" * round(24 * share)
            self._draw(f"{bar:─<24} {text}")
        elif time.monotonic() - self.lined > 15:
            self._say(text)

    def _epoch_line(self, record: dict[str, Any]) -> str:
        parts = [self._place(record), f"train {_number(record['train_loss'])}"]
        if record["valid_loss"] is not None:
            parts.append(f"valid {_number(record['valid_loss'])}")
        if record["valid_score"] is not None and not self.by_steps:
            parts.append(f"score {_number(record['valid_score'])}")
        if record["best"] is not None:
            parts.append(f"best {record['best']}")
        return " · ".join(parts)

    def _epoch(self, event: dict[str, Any]) -> None:
        self.last = event
        if self.live:
            self._draw(self._epoch_line(event))
        elif self.shown == 0 or self.by_steps or time.monotonic() - self.lined > _LINES:
            self.shown = event["epoch"]
            self._say(self._epoch_line(event))


def _number(value: float | None) -> str:
    return "nan" if value is None else f"{value:.4g}"
