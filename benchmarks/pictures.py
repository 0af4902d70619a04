"""The pictures of the docs page, as small SVGs that can be read on a light and on a dark page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: Seen on white and on black.
INK = "#808080"
COLOURS = {
    "ours": "#e8590c",
    "ours, adaptive": "#f59f00",
    "openai": "#1c7ed6",
    "airbyte": "#7048e8",
    "dbt-cloud": "#0ca678",
    "fivetran": "#d6336c",
    "http": "#74b816",
    "base": INK,
}


def draw(found: dict[str, Any], folder: Path) -> None:
    """Draw what there are results for."""
    import matplotlib

    matplotlib.use("svg")
    # Text stays text: smaller, and it can be searched and read aloud. A fixed salt: the same figures, the same file.
    settings = {"svg.fonttype": "none", "svg.hashsalt": "apimart", "font.size": 11, "text.color": INK}
    for name in ("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"):
        settings[name] = INK
    with matplotlib.rc_context(settings):
        if "scale" in found:
            _lag(found["scale"], folder / "lag.svg")
        if "pacing" in found:
            _pacing(found["pacing"], folder / "pacing.svg")


def _axes(xlabel: str, ylabel: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    picture = Figure(figsize=(7.5, 4.2))
    axes = picture.add_subplot()
    axes.patch.set_alpha(0)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=INK, alpha=0.25, linewidth=0.5)
    return picture, axes


def _save(picture: Any, axes: Any, path: Path) -> None:
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    picture.savefig(path, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None, "Creator": None})


def _lag(found: dict[str, Any], path: Path) -> None:
    picture, axes = _axes("triggers in one event loop", "loop lag p99, ms")
    sizes = sorted({line["triggers"] for line in found["lines"]})
    for row in dict.fromkeys(line["row"] for line in found["lines"]):
        mine = [line for line in found["lines"] if line["row"] == row and "lag" in line]
        points = [(line["triggers"], line["lag"]["p99"]) for line in mine]
        if points:
            wide = 2.5 if row.startswith("ours") else 1.2
            name = "sleeping only" if row == "base" else row
            axes.plot(*zip(*points, strict=True), marker="o", color=COLOURS[row], linewidth=wide, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    _save(picture, axes, path)


def _pacing(found: dict[str, Any], path: Path) -> None:
    picture, axes = _axes("polls a job", "mean delay, s")
    colours = ["#e8590c", "#1c7ed6", "#0ca678", "#7048e8"]
    for each, colour in zip(found["scenarios"], colours, strict=False):
        rows = dict(each["rows"])
        ours = rows.pop("adaptive")
        line = sorted((pace["polls"], pace["mean_delay"]) for pace in rows.values())
        axes.plot(*zip(*line, strict=True), color=colour, linewidth=1, marker=".", label=f"fixed: {each['scenario']}")
        axes.plot(ours["polls"], ours["mean_delay"], marker="*", markersize=14, color=colour, linestyle="",
                  label=f"adaptive: ratio {each['ratio']:.2f}")  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}")
        axis.set_tick_params(which="minor", labelsize=8)
    _save(picture, axes, path)
