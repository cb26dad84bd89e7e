"""The folder of a run."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from feedforward import _core
from feedforward._model import Model, table

if TYPE_CHECKING:
    from pathlib import Path


class Run:
    """A run: its scores, history, report and model.

    >>> run = feedforward.train(frame, target="species")
    >>> run.scores, run.history[-1]
    >>> run.predict(new_rows)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from pathlib import Path

        self.path = Path(_core.run_folder(os.fspath(path)))
        self.outcome: dict[str, Any] | None = None
        self._model: Model | None = None

    @classmethod
    def _of(cls, outcome: dict[str, Any]) -> Run:
        run = cls(outcome["run"])
        run.outcome = outcome
        return run

    @property
    def finished(self) -> bool:
        """Whether it is finished; otherwise `resume` continues it."""
        return bool(self._json("run.json").get("finished"))

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped before its end, with everything saved."""
        return not self.finished

    @property
    def scores(self) -> dict[str, Any]:
        """The scores of each held-out part, `{"test": {"accuracy": …}}`; empty before the end."""
        parts = self.evaluation.items()
        return {name: part.get("scores", part) for name, part in parts if isinstance(part, dict)}

    @property
    def evaluation(self) -> dict[str, Any]:
        """All scores, with intervals and curves; empty before the run is finished."""
        return self._json("scores.json")

    @property
    def summary(self) -> dict[str, Any]:
        """How the run went, of a run that this process trained."""
        return dict(self.outcome["summary"]) if self.outcome else {}

    @property
    def history(self) -> list[dict[str, Any]]:
        """The losses of each epoch: `pandas.DataFrame(run.history)`."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]

    @property
    def recipe(self) -> str:
        """The whole recipe, as TOML."""
        return (self.path / "recipe.toml").read_text(encoding="utf-8")

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.path / "report.html"

    @property
    def model(self) -> Model:
        """The trained model."""
        if self._model is None:
            self._model = Model(self.path)
        return self._model

    def predict(self, data: Any, **options: Any) -> Any:
        """Predicts rows; see `feedforward.predict`."""
        from feedforward import _runs

        return _runs.predict(self if options.get("out") else self.model, data, **options)

    def predict_proba(self, data: Any) -> Any:
        """The probability of each class."""
        return self.model.predict_proba(data)

    def generate(self, prompt: Any, **options: Any) -> Any:
        """Continues a prompt; see `Model.generate`."""
        return self.model.generate(prompt, **options)

    def evaluate(self, data: Any = None, **options: Any) -> dict[str, Any]:
        """Scores on new rows, or on what the run held out; see `feedforward.evaluate`."""
        from feedforward import _runs

        return _runs.evaluate(self, data, **options)

    def export(self, out: str | os.PathLike[str], **options: Any) -> dict[str, Any]:
        """Writes the model as a file of another tool; see `feedforward.export`."""
        from feedforward import _runs

        return _runs.export(self, out, **options)

    def resume(self, data: Any = None, **options: Any) -> Run:
        """Resumes the run; see `feedforward.resume`."""
        from feedforward import _runs

        return _runs.resume(self, data, **options)

    def show(self, height: int = 800) -> Any:
        """The report within a notebook."""
        import html

        from IPython.display import HTML

        page = html.escape(self.report.read_text(encoding="utf-8"), quote=True)
        style = f"width:100%;height:{int(height)}px;border:0"
        return HTML(f"<iframe sandbox='allow-scripts' style='{style}' srcdoc=\"{page}\"></iframe>")

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        if not path.exists():
            return {}
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def _facts(self) -> list[tuple[str, str]]:
        outcome = self.outcome or {}
        state = "finished" if self.finished else "stopped: resume() continues it"
        rows = [("run", str(self.path)), ("state", outcome.get("headline") or state)]
        verdict = outcome.get("verdict")
        if verdict:
            for found in verdict["comparisons"]:
                beside = f"{verdict['baseline']}: {found['baseline']:.4g}"
                name = f"{verdict['part']} {found['metric']}"
                rows.append((name, f"{_compared(found)}; {beside}"))
        rows += [("", line) for line in outcome.get("lines", [])]
        if self.report.exists():
            rows.append(("report", str(self.report)))
        return rows

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        lines = [f"{name:<20} {value}".rstrip() for name, value in self._facts()[1:]]
        return "\n".join([f"Run({str(self.path)!r})", *(f"  {line}" for line in lines)])

    def _repr_html_(self) -> str:
        return table(self._facts())


def _compared(found: dict[str, Any]) -> str:
    interval = found["interval"]
    bounds = f" ({interval['low']:.4g} to {interval['high']:.4g})" if interval else ""
    return f"{found['model']:.4g}{bounds}"
