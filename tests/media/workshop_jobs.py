"""Jobs that work on text, so that what they make can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow_provider_apimart.media.errors import BadInput, Refused


def join_text(inputs: list[str], outputs: list[dict[str, Any]], **private: Any) -> dict[str, Any]:
    """Write the inputs one after another, in upper case if asked for."""
    text = "".join(Path(path).read_text() for path in inputs)
    for output in outputs:
        # Written twice, as FFmpeg does to move an MP4's index to the front.
        Path(output["path"]).write_text("something longer than what follows" * 100)
        Path(output["path"]).write_text(text.upper() if output["parameters"].get("upper") else text)
    return {
        output["name"]: {"width": 16, "height": 9, "duration_seconds": 1.5, "has_audio": True} for output in outputs
    }


def complain(inputs: list[str], outputs: list[dict[str, Any]], how: str) -> dict[str, Any]:
    """Fail in the way that is asked for."""
    match how:
        case "input":
            raise BadInput(1, "no picture")
        case "refused":
            raise Refused("no font has this letter")
        case "empty":
            return {output["name"]: {} for output in outputs}
        case "forgotten":
            return {}
        case _:
            raise ValueError("broken")
