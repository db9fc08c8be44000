"""A training's bar and loss curve in a notebook, redrawn while it runs."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 420, 110
"""Of the curve, in pixels."""


class Live:
    """A display of one notebook cell: `live.report(step, numbers)` redraws it."""

    def __init__(self, total: int, display: Any, html: Any):
        """Shows an empty bar; `display` and `html` are those of IPython."""
        self._total, self._html = total, html
        self._steps: list[int] = []
        self._losses: list[float] = []
        self._handle = display(html(page(0, total, {}, [], [])), display_id=True)

    def report(self, step: int, numbers: Mapping[str, float]) -> None:
        """Draws the bar at a step, its numbers, and the losses so far."""
        if math.isfinite(loss := numbers.get("loss", math.nan)):
            self._steps.append(step)
            self._losses.append(loss)
        drawn = page(step, self._total, numbers, self._steps, self._losses)
        self._handle.update(self._html(drawn))


def live(total: int) -> Live | None:
    """Returns the display of the notebook that this process is; None outside of notebooks."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if not hasattr(shell, "kernel"):
        return None
    from IPython.display import HTML, display  # noqa: PLC0415 - there in notebooks only

    return Live(total, display, HTML)


def page(
    step: int,
    total: int,
    numbers: Mapping[str, float],
    steps: Sequence[int],
    losses: Sequence[float],
) -> str:
    """Returns the display as HTML: a bar, numbers, and the curve as an SVG."""
    text = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
    bar = f"<progress value='{step}' max='{total}' style='width:{WIDTH}px'></progress>"
    return f"{bar} {step}/{total}<br><small>{text}</small><br>{curve(steps, losses, total)}"


def curve(steps: Sequence[int], losses: Sequence[float], total: int) -> str:
    """Returns a polyline of the losses over the whole run; logarithmic where all are positive."""
    if len(steps) < 2:
        return ""
    heights = [math.log(loss) for loss in losses] if min(losses) > 0 else list(losses)
    low, high = min(heights), max(heights)
    across = lambda step: WIDTH * step / total
    down = lambda height: HEIGHT * (1 - (height - low) / (high - low or 1))
    points = " ".join(f"{across(s):.1f},{down(h):.1f}" for s, h in zip(steps, heights, strict=True))
    return (
        f"<svg width='{WIDTH}' height='{HEIGHT}' style='border-bottom:1px solid #bbb'>"
        f"<polyline points='{points}' fill='none' stroke='#2a6fbb' stroke-width='1.5'/></svg>"
    )
