"""The folder of a search for settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from feedforward._model import table
from feedforward._run import Run

if TYPE_CHECKING:
    from pathlib import Path


class Search:
    """A search: its trials, what mattered, and the run of the best settings.

    >>> search = feedforward.tune(frame, target="species", trials=20)
    >>> search.best.predict(new_rows)
    """

    def __init__(self, outcome: dict[str, Any]) -> None:
        from pathlib import Path

        self.path = Path(outcome["folder"])
        self.outcome = outcome

    @property
    def best(self) -> Run:
        """The run of the best settings."""
        return Run(self.path / "best")

    @property
    def trials(self) -> list[dict[str, Any]]:
        """Every trial, the best first: `pandas.DataFrame(search.trials)`."""
        return list(self.outcome["trials"])

    @property
    def influence(self) -> dict[str, float]:
        """The share of the differences that each varied setting explains, the largest first."""
        return {found["key"]: found["share"] for found in self.outcome["influence"]}

    @property
    def recipe(self) -> str:
        """The recipe with the best settings, as TOML."""
        return (self.path / "best.toml").read_text(encoding="utf-8")

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.path / "report.html"

    def _facts(self) -> list[tuple[str, str]]:
        rows = [("search", str(self.path)), ("state", self.outcome["headline"])]
        best = self.trials[0]["settings"]
        rows.append(("best", ", ".join(f"{k}={v}" for k, v in best.items()) or "as given"))
        shares = (f"{key} {share:.0%}" for key, share in self.influence.items())
        return [*rows, ("mattered", ", ".join(shares)), ("report", str(self.report))]

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        lines = (f"  {name:<20} {value}" for name, value in self._facts()[1:])
        return "\n".join([f"Search({str(self.path)!r})", *lines])

    def _repr_html_(self) -> str:
        return table(self._facts())


def read(outcome: str) -> Search:
    """The search of an outcome as JSON."""
    return Search(json.loads(outcome))
