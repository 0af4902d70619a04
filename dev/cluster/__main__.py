"""``make cluster`` and ``make crash CLUSTER=1``.

Without ``CRASH_RUNS`` a node, a scheduler, the broker and the database are lost, in this order and once. With it,
everything that can be lost is, so many times, in an order of chance (``CRASH_SEED``) and with faults of APIMart's API.
"""

from __future__ import annotations

import os
import random
import sys
import time

import httpx

from dev.cluster.programs import why_no_cluster
from dev.stage import REPO, end_on_signals

HOME = REPO / ".cluster"


def main() -> int:
    """Run; return the exit code."""
    if (why := why_no_cluster()) is not None:
        print(f"No cluster can run here: {why}", file=sys.stderr)
        return 2
    from dev.cluster.run import LOSSES, STANDARD, ClusterPlan, run_cluster
    from dev.cluster.servers import ServerError
    from dev.local_airflow import LocalAirflowError, wipe

    end_on_signals()
    seed = int(os.environ.get("CRASH_SEED") or time.time())
    plan = ClusterPlan(STANDARD, seed)
    if rounds := int(os.environ.get("CRASH_RUNS") or 0):
        order = random.Random(seed)  # noqa: S311 -- nothing secret
        losses = [name for _ in range(rounds) for name in order.sample(list(LOSSES), len(LOSSES))]
        plan = ClusterPlan(tuple(losses), seed, faults=3)
    wipe(HOME)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {text}", flush=True)

    print(f"{len(plan.losses)} losses, CRASH_SEED={seed}; everything is under {HOME.name}/ ...", flush=True)
    try:
        report, _ = run_cluster(HOME, plan, say)
    except KeyboardInterrupt:
        print("\nInterrupted; nothing is left running.", file=sys.stderr)
        return 130
    except (LocalAirflowError, ServerError, TimeoutError, httpx.HTTPError) as error:
        print(f"\nNo result: {error}", file=sys.stderr)
        return 1
    print(f"\n{report.text()}")
    return 1 if report.audit.problems else 0


if __name__ == "__main__":
    sys.exit(main())
