"""The job: joins clips into one video.

Clips that agree are copied by their tables alone (:mod:`.quick`). That needs neither a decoder nor a muxer, so FFmpeg
is not even loaded for it. All others are joined by FFmpeg (:mod:`.streams`).
"""

from __future__ import annotations

from typing import Any

from airflow_provider_apimart.media.joining.quick import copied
from airflow_provider_apimart.media.joining.wish import Wish


def join(inputs: list[str], outputs: list[dict[str, Any]]) -> dict[str, Any]:
    """Join the inputs, in their order.

    :raises BadInput: if a clip cannot be read whole.
    :raises Refused: if what is asked for cannot be made of these clips.
    """
    (output,) = outputs
    wish = Wish(**output["parameters"])
    facts = copied(inputs, wish, output["path"])
    if facts is None:
        from airflow_provider_apimart.media.joining.streams import joined

        facts = joined(inputs, wish, output["path"])
    return {output["name"]: facts}
