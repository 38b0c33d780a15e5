"""The picture of a run: bars of the added cost, relative to raw."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import results
from .databases import KINDS

_COLOUR, _HIGHLIGHT = "#8a94a6", "#1f6feb"


def is_available() -> bool:
    return find_spec("matplotlib") is not None


def draw(found: dict[str, Any], path: Path) -> None:
    """Write the picture, in the format of the path's suffix."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    panels = {kind: bars for kind in KINDS if (bars := results.bars(found["timing"], kind))}
    count = max(map(len, panels.values()))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(10, 1.1 + 0.45 * count), squeeze=False, layout="constrained"
    )
    for axis, (kind, bars) in zip(axes[0], panels.items(), strict=True):
        _draw_panel(axis, kind, bars)
    figure.suptitle("Added to a request by checking a key; a hand-written look-up adds 1", size=11)
    figure.savefig(path, dpi=160)
    plt.close(figure)


def _draw_panel(axis: Any, kind: str, bars: list[tuple[str, float]]) -> None:
    names = [name for name, _ in bars]
    values = [value for _, value in bars]
    colours = [_HIGHLIGHT if name == "flask-orgkeys" else _COLOUR for name in names]
    drawn = axis.barh(names, values, color=colours, height=0.62)
    if max(values) > 50 * min(values):
        axis.set_xscale("log")
        axis.set_xlim(0.3, max(values) * 8)
        axis.set_xlabel("times raw, logarithmic")
    else:
        axis.set_xlim(0, max(values) * 1.18)
        axis.set_xlabel("times raw")
    labels = [f"{value:,.0f}" if value >= 100 else f"{value:.1f}" for value in values]
    axis.bar_label(drawn, labels=labels, padding=4, size=9)
    axis.invert_yaxis()
    axis.set_title({"sqlite": "SQLite", "postgresql": "PostgreSQL"}[kind], size=10)
    axis.tick_params(labelsize=9, length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
