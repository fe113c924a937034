"""Charts of a run as SVG text to embed in a page.

Matplotlib draws them without a display or scripts, so they also work in print, in mail, and in dashboards that block
scripts. The colours used here are placeholders that are replaced by CSS variables of the page, so that charts follow
its light or dark theme.
"""

import io
import re
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from embedstep.report.series import Series

_INK, _FAINT, _PAPER = "#010203", "#020304", "#030405"
_LINES = ("#100001", "#100002", "#100003", "#100004", "#100005")
_VARIABLES = {
    _INK: "var(--ink)", _FAINT: "var(--faint)", _PAPER: "var(--paper)",
    **{colour: f"var(--line-{number})" for number, colour in enumerate(_LINES, 1)},
}  # fmt: skip
_STYLE: Any = {
    "svg.fonttype": "none", "font.size": 9, "axes.edgecolor": _FAINT, "axes.labelcolor": _INK, "text.color": _INK,
    "xtick.color": _INK, "ytick.color": _INK, "grid.color": _FAINT, "axes.spines.top": False,
    "axes.spines.right": False, "legend.frameon": False, "font.family": "sans-serif", "text.parse_math": False,
}  # fmt: skip
_ROW = 0.3
_SIZE = (4.6, 2.6)


def draw_curves(
    key: str, lines: Mapping[str, Series], *, champion: Mapping[str, float] | None = None, unit: str = "train step"
) -> str:
    """Draw metrics over train steps, with the champion's values as dashed lines.

    Args:
        key: unique name of the chart in the page.
        lines: metrics by their name in the legend.
        champion: values of the champion by the same names.
        unit: what the metrics are drawn over.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(_SIZE)
        for number, (name, series) in enumerate(lines.items()):
            colour = _LINES[number % len(_LINES)]
            single = len(series.values) == 1
            axes.plot(
                series.steps, series.values, color=colour, label=name, linewidth=1.4, marker="o" if single else ""
            )
            if champion and name in champion:
                axes.axhline(champion[name], color=colour, linestyle="--", linewidth=1)
        axes.set_xlabel(unit)
        axes.grid(linewidth=0.4)
        if len(lines) > 1:
            axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0, handlelength=1)
        return _svg(key, figure)


def draw_intervals(key: str, gains: Mapping[str, Mapping[str, float]]) -> str:
    """Draw gains around zero with their confidence intervals, the first on top.

    Args:
        key: unique name of the chart in the page.
        gains: `gain`, `low` and `high` by the label of the row.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _figure((_SIZE[0] * 1.6, 0.7 + _ROW * len(gains)))
        places = range(len(gains), 0, -1)
        for place, one in zip(places, gains.values(), strict=True):
            colour = _LINES[2] if one["low"] > 0 else _LINES[3] if one["high"] < 0 else _INK
            axes.plot([one["low"], one["high"]], [place, place], color=colour, linewidth=2.4, solid_capstyle="butt")
            axes.plot([one["gain"]], [place], color=colour, marker="o", markersize=5)
        axes.axvline(0, color=_INK, linewidth=0.8)
        axes.set_yticks(list(places), list(gains))
        axes.set_ylim(0.4, len(gains) + 0.6)
        axes.grid(axis="x", linewidth=0.4)
        axes.set_xlabel("challenger minus champion")
        return _svg(key, figure)


def draw_bars(key: str, parts: Mapping[str, float], *, unit: str) -> str:
    """Draw horizontal bars with their values, the first on top."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure((_SIZE[0], 0.7 + _ROW * len(parts)))
        places = list(range(len(parts), 0, -1))
        bars = axes.barh(places, list(parts.values()), color=_LINES[0], height=0.6)
        axes.bar_label(bars, [f" {value:,.4g}" for value in parts.values()], fontsize=8)
        axes.set_yticks(places, list(parts))
        axes.set_xlabel(unit)
        axes.margins(x=0.18)
        return _svg(key, figure)


def _figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def _svg(key: str, figure: Figure) -> str:
    """Return the chart with CSS variables as colours, and with ids that are unique in the page."""
    stream = io.StringIO()
    mpl.rcParams["svg.hashsalt"] = key
    nothing: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(stream, format="svg", metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    for placeholder, variable in _VARIABLES.items():
        text = text.replace(placeholder, variable)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{key}-", text)
    # The style of the page sets width and background.
    text = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", text, count=1)
    text = re.sub(r'<svg([^>]*?) height="[^"]*"', r'<svg\1 role="img"', text, count=1)
    return text.replace("fill: #ffffff", "fill: none")
