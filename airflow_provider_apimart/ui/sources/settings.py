"""The options of ``[apimart]`` in Airflow's configuration that the pages use.

Airflow knows their defaults once it has discovered its providers. A process may read an option before that, so the
defaults are given here all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

from airflow_provider_apimart._compat import conf
from airflow_provider_apimart.configuration import OPTIONS, SECTION

VideoDelivery = Literal["proxy", "redirect", "auto"]


@dataclass(frozen=True)
class Settings:
    """The pages' options.

    :param video_delivery: ``proxy`` streams videos through the API server, ``redirect`` sends the browser to a
        presigned URL, ``auto`` does that where the storage can.
    :param video_link_seconds: how long a presigned URL lives.
    :param max_streams: videos that one API server process sends at the same time. Each takes some 3 MiB of memory.
    :param video_roots: what a path has to begin with to be shown; empty allows every path that a record names.
    :param gallery: whether the index is kept and the gallery shown.
    :param index_retention_days: after how many days a generation leaves the index; 0 keeps it for ever.
    """

    video_delivery: VideoDelivery = "proxy"
    video_link_seconds: int = 300
    max_streams: int = 32
    video_roots: tuple[str, ...] = ()
    gallery: bool = True
    index_retention_days: int = 0


def settings() -> Settings:
    """Return the options as they are set now.

    :raises ValueError: names the option, its value and what is allowed.
    """
    delivery = _text("video_delivery").strip().lower()
    if delivery not in get_args(VideoDelivery):
        allowed = ", ".join(get_args(VideoDelivery))
        raise ValueError(f"[{SECTION}] video_delivery = {delivery!r}; allowed: {allowed}")
    roots = _text("video_roots")
    return Settings(
        video_delivery=cast(VideoDelivery, delivery),
        video_link_seconds=_number("video_link_seconds", 10, 3600),
        max_streams=_number("max_streams", 1, 1000),
        video_roots=tuple(root.strip() for root in roots.split(",") if root.strip()),
        gallery=conf.getboolean(SECTION, "gallery", fallback=OPTIONS["gallery"]["default"]),
        index_retention_days=_number("index_retention_days", 0, 100_000),
    )


def _text(name: str) -> str:
    return str(conf.get(SECTION, name, fallback=OPTIONS[name]["default"]) or "")


def _number(name: str, least: int, most: int) -> int:
    value = _text(name)
    try:
        number = int(value)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise ValueError(f"[{SECTION}] {name} = {value!r}; allowed: a whole number from {least} to {most}")
    return number
