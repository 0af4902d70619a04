"""One life of one post in a process of its own, killed with SIGKILL at a boundary.

``python -m tests.crash.publish_life`` reads an order (JSON) on stdin and prints the ending; the record lies in a file.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow_provider_apimart.emulator.control.client import EmulatorControl
from airflow_provider_apimart.publishing.record import PostRecord
from tests.crash.publishing import Post1


class RealPost(Post1):
    """A post whose record outlives the process, and whose deaths are real."""

    def pass_by(self, name: str) -> None:
        self.passed.append(name)
        if len(self.passed) - 1 in self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def load(self) -> PostRecord | None:
        place = self.path.with_suffix(".record")
        self.record = place.read_text() if place.exists() else ""
        return super().load()

    def save(self, record: PostRecord) -> None:
        self.pass_by(f"before save {record.state}")
        place = self.path.with_suffix(".record")
        draft = place.with_suffix(".new")
        draft.write_text(record.model_dump_json())
        draft.replace(place)
        self.pass_by(f"after save {record.state}")


def main() -> int:
    order: dict[str, Any] = json.load(sys.stdin)
    emulator: Any = EmulatorControl(order["base_url"])
    post = RealPost(emulator, Path(order["path"]), order["kind"], "real", kill_at=frozenset(order["kill_at"]))
    # The later lives see a later clock, so that nobody has to wait for what settles.
    post.time += timedelta(minutes=order["minutes"])
    kept, refusal = post.life()
    json.dump({"kept": kept, "refusal": refusal, "boundaries": post.passed}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
