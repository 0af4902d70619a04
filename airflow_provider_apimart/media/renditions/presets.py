"""What the networks take, as data: one row a channel, with the page that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MINUTE, HOUR = 60.0, 3600.0
MB, GB = 10**6, 10**9

_REELS = "https://developers.facebook.com/docs/instagram-platform/instagram-graph-api/reference/ig-user/media"
_YOUTUBE = "https://support.google.com/youtube/answer/1722171"
_SHORTS = "https://support.google.com/youtube/answer/15424877"
_TIKTOK = "https://developers.tiktok.com/doc/content-posting-api-media-transfer-guide"


@dataclass(frozen=True)
class Preset:
    """A channel: the shape that fills its screen, and the limits of what it takes.

    :param width: of the rendition, in pixels.
    :param height: of the rendition, in pixels.
    :param seconds: the shortest and the longest video.
    :param frame_rate: the lowest and the highest pictures a second.
    :param video_bitrate: the highest, in bits a second. Where a network only recommends, its recommendation.
    :param audio_bitrate: in bits a second.
    :param max_bytes: the largest file.
    :param page: where the network says so.
    """

    width: int
    height: int
    seconds: tuple[float, float]
    frame_rate: tuple[float, float]
    video_bitrate: int
    audio_bitrate: int
    max_bytes: int
    page: str


PRESETS: Mapping[str, Preset] = {
    "youtube": Preset(1920, 1080, (0.5, 12 * HOUR), (1, 60), 12_000_000, 384_000, 256 * GB, _YOUTUBE),
    "shorts": Preset(1080, 1920, (0.5, 3 * MINUTE), (1, 60), 12_000_000, 384_000, 256 * GB, _SHORTS),
    "reels": Preset(1080, 1920, (3, 15 * MINUTE), (23, 60), 25_000_000, 128_000, 300 * MB, _REELS),
    "tiktok": Preset(1080, 1920, (3, 10 * MINUTE), (23, 60), 12_000_000, 128_000, 4 * GB, _TIKTOK),
    "square": Preset(1080, 1080, (3, 15 * MINUTE), (23, 60), 25_000_000, 128_000, 300 * MB, _REELS),
    "feed": Preset(1080, 1350, (3, 15 * MINUTE), (23, 60), 25_000_000, 128_000, 300 * MB, _REELS),
}
