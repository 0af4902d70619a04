"""The page's part on many triggers in one event loop. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.peers.contestants import CONTESTANTS
from benchmarks.reports.cells import about, figure, milliseconds, percent, table

METHOD = """\
The peers in `benchmarks/peers/requirements.txt` are installed into their own environment (`.bench/venv`), with the same
Airflow, and run through their own trigger classes. A server in a separate process implements the status endpoints of
all their APIs, answers each poll after {answer:g} ms, and counts polls and TCP connections. This was replaced:

| | trigger | version | polls by default every | replaced |
|---|---|---|---|---|
{rows}

Each provider's own hook looks up its connection, answered from the environment; in a triggerer the lookup is a
request to the supervisor. Logging and TLS are off for all.
"""


def method(found: dict[str, Any]) -> str:
    """Return how the loops were measured, and what was replaced."""
    rows = []
    for name, each in CONTESTANTS.items():
        if name == "base":
            continue
        default = "adaptive" if each.default_seconds is None else f"{each.default_seconds:g} s"
        version = found["about"]["machine"]["versions"].get(each.distribution, "")
        rows.append(f"| {name} | `{each.trigger}` | {version} | {default} | {each.replaced} |")
    return METHOD.format(answer=found["answer_seconds"] * 1000, rows="\n".join(rows))


def scale(found: dict[str, Any]) -> str:
    """Return (a)."""
    interval = f"every {found['interval']:g} s" if found["interval"] else "at each one's default interval"
    head = ["", "pace kept", "asked at all", "loop lag p50", "p99", "max", "connections", "polls a trigger",
            "CPU a trigger", "CPU a poll", "to the cheapest peer's", "CPUs", "memory a trigger"]  # fmt: skip
    parts = [
        "## Triggers in one event loop",
        about(found),
        f"All triggers poll {interval}; *ours, adaptive* uses our default settings. The measured window is "
        f"{found['seconds']:g} s, after all have started. *Pace kept*: the polls in the window as a share of those "
        "that the interval asks for; for *ours, adaptive* as a share of its own pace without a limit. *Asked at "
        "all*: triggers that were polled in the window. The loop's lag is how late a 10 ms ticker runs. A stall "
        "that was not over at the end counts until the end, so the lags of a stalled loop are lower bounds (after "
        "10 s without a turn its window is closed).",
        "*Memory* is the growth of the process from before its triggers until the end, per trigger. The first row "
        "measures triggers that only sleep: the share of Airflow and of this measurement. With few triggers, "
        "one-time costs (connections, for example) show in the other rows. Where most of a contestant's triggers "
        "never started, the figure is too low.",
        "*Ours* skips polls on purpose: a process keeps few requests in flight and limits its requests per "
        "second, so that the loop stays free for other triggers ([how it polls](polling.md)). Where not all "
        "polls fit, all triggers are polled less often, in turn: *pace kept* falls, and so does *asked at all* if "
        "the window is shorter than a turn. [How long a turn is, and whether every trigger gets "
        "one](#everybody-in-turn), is measured below.",
        "*To the cheapest peer's*: the CPU of a poll, divided by that of the peer that needs least of those that were "
        "not stalled.",
        method(found),
    ]
    for size in dict.fromkeys(line["triggers"] for line in found["lines"]):
        lines = [line for line in found["lines"] if line["triggers"] == size]
        rows = [scale_row(line, cheapest(lines)) for line in lines]
        parts += [f"### {size:,} triggers", table(head, rows)]
    parts += ["![Loop lag p99 by the number of triggers](benchmarks/lag.svg)"]
    return "\n\n".join(parts)


def cheapest(lines: Sequence[dict[str, Any]]) -> float | None:
    """Return the CPU of a poll of the peer that needs least, of those that asked all their triggers."""
    found = [
        line["cpu_ms_per_poll"]
        for line in lines
        if line.get("cpu_ms_per_poll")
        and line["row"] != "base"
        and not line["row"].startswith("ours")
        and line["started"] == line["triggers"]
    ]
    return min(found, default=None)


def scale_row(line: dict[str, Any], least: float | None = None) -> list[str]:
    """Return one row; a contestant that gave no figures says why.

    :param least: the cheapest peer's CPU of a poll, in milliseconds.
    """
    name = {"base": "*triggers that only sleep*"}.get(line["row"], line["row"])
    if "lag" not in line:
        return [name, f"did not finish: {line['error'][:80]}", *[""] * 11]
    lag = line["lag"]
    stalled = f" (stalled: {line['started']:,} started)" if line["started"] < line["triggers"] else ""
    lost = f" ({line['lost']} ended in an error)" if line["lost"] else ""
    return [
        name + stalled + lost,
        percent(line["pace_kept"]),
        "-" if line["row"] == "base" else percent(line["asked"]),
        *[milliseconds(lag[key]) for key in ("p50", "p99", "max")],
        f"{line['connections']:,}",
        figure(line["polls_per_trigger"]),
        milliseconds(line["cpu_ms_per_trigger"]),
        milliseconds(line["cpu_ms_per_poll"]),
        figure(line["cpu_ms_per_poll"] / least if line["cpu_ms_per_poll"] and least else None),
        figure(line["cpu_share"]),
        figure(line["kb_per_trigger"], " KB"),
    ]


def turns(found: dict[str, Any]) -> str:
    """Return which triggers are polled when, if not all polls fit."""
    head = ["triggers, an answer takes", "polls a second", "asked at all", "first asked after", "at most",
            "asked again after", "p99", "at most", "longest without a poll", "asked in the last 60 s", "loop lag p99",
            "CPUs"]  # fmt: skip
    return "\n\n".join(
        [
            "## Everybody in turn",
            about(found),
            f"*Ours, adaptive* with more triggers than polls fit, over {found['seconds']:g} s; all triggers start "
            "within 10 s, and no job ends. *Longest without a poll* counts from a trigger's start to the end of "
            "the run, including the time before its first and after its last poll: no trigger waited longer. The "
            "runs were concurrent, each in its own process, so the figures for lag and CPU above are more "
            "reliable.",
            table(head, [turns_row(line) for line in found["lines"]]),
        ]
    )


def turns_row(line: dict[str, Any]) -> list[str]:
    """Return one row."""
    name = f"{line['triggers']:,}, {line['answer_seconds'] * 1000:g} ms"
    if "asked" not in line:
        return [name, f"did not finish: {line['error'][:80]}", *[""] * 10]
    times = [*line["first"], *line["between"], line["longest"]]
    return [
        name,
        figure(line["polls_per_second"]),
        percent(line["asked"]),
        *[figure(each, " s") for each in times],
        percent(line["last_minute"]),
        milliseconds(line["lag"]["p99"]),
        figure(line["cpu_share"]),
    ]
