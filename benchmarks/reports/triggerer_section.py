"""The page's part on Airflow's own triggerer. Pure."""

from __future__ import annotations

from typing import Any

from benchmarks.reports.cells import about, figure, table


def triggerer(found: dict[str, Any]) -> str:
    """Return Airflow's own triggerer."""
    parts = [
        "## Airflow's own triggerer",
        about(found),
        "Airflow's triggerer process with this many deferred tasks in its database (SQLite) and a raised "
        "capacity. It is started, ended by SIGTERM and started again, killed by SIGKILL and started again; then "
        "all jobs are completed at once. The triggers of a killed triggerer are free for the next one after "
        f"{found['dead_after']} s (by default 30 s). The server answers after {found['answer_seconds'] * 1000:g} "
        "ms. *Owned*: every trigger belongs to the new process. *Asked*: every generation was polled. *Blocked*: "
        "Airflow's own warnings that the loop was blocked for more than 0.2 s, and the longest. *Asked twice*: "
        "polls of a generation while another poll of it was in flight, across restarts. *Asked again*: the "
        "shortest and the longest time from an answer about a generation to its next poll, in phases in which the "
        "triggerer ran throughout. *Sleeping*: the same with as many of Airflow's own `DateTimeTrigger`, which do "
        "nothing. Its starts end when all are owned, so later blocking (for each trigger Airflow writes a line "
        "into a pipe that its other process has to read) shows in its *steady* phase, and in ours in *start*. "
        "Where a SIGTERM takes 10 s longer, Airflow waited for a process that had already ended.",
    ]
    head = ["", "ended in", "owned", "asked", "blocked", "asked twice", "asked again", "polls a second", "connections",
            "CPUs: loop", "CPUs: database", "memory: loop", "memory: database"]  # fmt: skip
    for tasks in dict.fromkeys(line["tasks"] for line in found["lines"]):
        rows = [
            triggerer_row(line["row"], phase)
            for line in found["lines"]
            if line["tasks"] == tasks
            for phase in line["phases"]
        ]
        parts += [f"### {tasks:,} deferred tasks", table(head, rows)]
        for line in found["lines"]:
            for phase in line["phases"]:
                if line["tasks"] == tasks and phase["phase"] == "all completed":
                    parts.append(ended(tasks, phase))
            if line["tasks"] == tasks and "error" in line:
                parts.append(f"*{line['row']}* did not get further: `{line['error'][:200]}`")
    return "\n\n".join(parts)


def ended(tasks: int, phase: dict[str, Any]) -> str:
    """Return how the end of all jobs went, and whether one was lost."""

    def after(name: str) -> str:
        return f"after {phase[name]:.0f} s" if name in phase else "never"

    return (
        f"All completed: the last answer {after('all_told_seconds')}, the last task left `deferred` "
        f"{after('all_left_seconds')}; watched for {phase['seconds']:.0f} s. Of {tasks:,} generations "
        f"{phase['told']:,} were told as completed, and {phase['finished']:,} tasks got that as their event; "
        f"{phase['failed']} triggers failed, {phase['deferred']} tasks and {phase['triggers_left']} triggers were left "
        "behind."
    )


def triggerer_row(row: str, phase: dict[str, Any]) -> list[str]:
    """Return one row: one phase of one kind."""

    def seconds(name: str) -> str:
        return f"{phase[name]:.1f} s" if name in phase else "-"

    late = "" if phase.get("in_time", True) else " (not done in time)"
    gaps = [phase.get(name) for name in ("least_gap", "most_gap")]
    polls, share, resident = phase.get("polls"), phase.get("cpu_share", {}), phase["peak_mb"]
    return [
        f"{'ours' if row == 'ours' else '*sleeping*'}: {phase['phase']}{late}",
        *[seconds(f"{each}_seconds") for each in ("end", "all_assigned", "all_asked")],
        f"{phase['warnings']} ({phase['longest']:.1f} s)" if phase["warnings"] else "0",
        "-" if row != "ours" else f"{phase['overlaps']}",
        f"{gaps[0]:.1f}-{gaps[1]:.1f} s" if row == "ours" and None not in gaps else "-",
        "-" if row != "ours" or polls is None else figure(polls / phase["seconds"]),
        "-" if row != "ours" else f"{phase.get('peak_open', 0)}",
        *[figure(share.get(name)) for name in ("runner", "supervisor")],
        *[f"{resident[name]:.0f} MB" for name in ("runner", "supervisor")],
    ]
