"""The pictures of the docs page, as small SVGs with their own background: light, or dark if the reader's system is. (An
image on a page cannot know the page's own theme.) Renderers without CSS show the light one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

INK, PAPER = "#3d444d", "#fffffe"
#: On light -> on dark.
DARK = {
    **{INK: "#d1d7e0", PAPER: "#151b23"},
    **{"#d9480f": "#ff922b", "#b8860b": "#ffe066", "#1864ab": "#74c0fc", "#6741d9": "#b197fc", "#087f5b": "#38d9a9"},
    **{"#c2255c": "#faa2c1", "#5c940d": "#a9e34b", "#868e96": "#adb5bd"},
}
#: Row -> colour and mark.
LOOKS = {
    "ours": ("#d9480f", "o"),
    "ours, adaptive": ("#b8860b", "*"),
    "openai": ("#1864ab", "s"),
    "airbyte": ("#6741d9", "D"),
    "dbt-cloud": ("#087f5b", "^"),
    "fivetran": ("#c2255c", "v"),
    "http": ("#5c940d", "P"),
    "base": ("#868e96", "x"),
}


def draw(found: dict[str, Any], folder: Path) -> None:
    """Draw the pictures for which there are results."""
    import matplotlib

    matplotlib.use("svg")
    # Text stays text, which is smaller, searchable and readable aloud. The fixed salt gives the same file for the same
    # figures.
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

    picture = Figure(figsize=(7.5, 4.2), facecolor=PAPER)
    axes = picture.add_subplot(facecolor="none")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=INK, alpha=0.25, linewidth=0.5)
    return picture, axes


def _save(picture: Any, axes: Any, path: Path) -> None:
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    picture.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    path.write_text(with_dark(path.read_text()))


def with_dark(svg: str) -> str:
    """Add a picture's dark colours. Rules marked "important" override the elements' own style."""
    rules = [
        f'[style*="{what}: {light}"] {{ {what}: {dark} !important }}'
        for light, dark in DARK.items()
        for what in ("fill", "stroke")
        if f"{what}: {light}" in svg
    ]
    style = "@media (prefers-color-scheme: dark) { " + " ".join(rules) + " }"
    return svg.replace("</style>", f'</style>\n  <style type="text/css">{style}</style>', 1)


def _lag(found: dict[str, Any], path: Path) -> None:
    picture, axes = _axes("triggers in one event loop", "loop lag p99, ms")
    sizes = sorted({line["triggers"] for line in found["lines"]})
    for row in dict.fromkeys(line["row"] for line in found["lines"]):
        mine = [line for line in found["lines"] if line["row"] == row and "lag" in line]
        points = [(line["triggers"], line["lag"]["p99"]) for line in mine]
        if points:
            wide = 2.5 if row.startswith("ours") else 1.2
            name = "sleeping only" if row == "base" else row
            colour, mark = LOOKS[row]
            size = 10 if mark == "*" else 6
            axes.plot(
                *zip(*points, strict=True), marker=mark, markersize=size, color=colour, linewidth=wide, label=name
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    _save(picture, axes, path)


def _pacing(found: dict[str, Any], path: Path) -> None:
    picture, axes = _axes("polls a job", "mean delay, s")
    colours = [LOOKS[row][0] for row in ("ours", "openai", "dbt-cloud", "airbyte")]
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
