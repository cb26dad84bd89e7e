"""Loss curves side by side as one SVG."""

from __future__ import annotations

from collections.abc import Sequence

from curves import Run

WIDTH, HEIGHT, LEFT, TOP, GAP = 250, 180, 44, 34, 20
STYLE = (
    "text{font:12px sans-serif;fill:#888}.name{font-weight:bold}.axis{stroke:#888;fill:none}"
    ".ours{stroke:#d97706;stroke-width:5;fill:none;opacity:.55}"
    ".theirs{stroke:#2563eb;stroke-width:1.5;fill:none;stroke-dasharray:5 4}"
)


def svg(runs: Sequence[Run]) -> str:
    """One panel for each run: ours as a broad line, PyTorch's dashed on top of it."""
    width = len(runs) * (LEFT + WIDTH + GAP) + GAP
    height = TOP + HEIGHT + 58
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}'>",
        f"<style>{STYLE}</style>",
    ]
    for i, run in enumerate(runs):
        parts.append(f"<g transform='translate({GAP + LEFT + i * (LEFT + WIDTH + GAP)},{TOP})'>")
        parts += panel(run)
        parts.append("</g>")
    y = height - 14
    parts += [
        f"<path class='ours' d='M{GAP + LEFT} {y - 4}h28'/>",
        f"<text x='{GAP + LEFT + 36}' y='{y}'>feedforward</text>",
        f"<path class='theirs' d='M{GAP + LEFT + 130} {y - 4}h28'/>",
        f"<text x='{GAP + LEFT + 166}' y='{y}'>PyTorch</text>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def panel(run: Run) -> list[str]:
    top = max(*run.ours, *run.theirs)
    last = len(run.ours) - 1

    def line(kind: str, losses: Sequence[float]) -> str:
        points = (
            f"{WIDTH * step / last:.1f},{HEIGHT * (1 - loss / top):.1f}"
            for step, loss in enumerate(losses)
        )
        return f"<polyline class='{kind}' points='{' '.join(points)}'/>"

    return [
        f"<text class='name' y='-12'>{run.name}</text>",
        f"<path class='axis' d='M0 0V{HEIGHT}H{WIDTH}'/>",
        f"<text x='-6' y='10' text-anchor='end'>{top:.2g}</text>",
        f"<text x='-6' y='{HEIGHT}' text-anchor='end'>0</text>",
        f"<text x='{WIDTH}' y='{HEIGHT + 16}' text-anchor='end'>step {last + 1}</text>",
        line("ours", run.ours),
        line("theirs", run.theirs),
    ]
