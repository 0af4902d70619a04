"""``make media-pictures``: draws the pictures of docs/media.md, from renditions of a clip of the emulator.

The scripts in them need the fonts of Noto (Debian: fonts-noto-core, fonts-noto-cjk, fonts-noto-color-emoji).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
from PIL import Image

from airflow_provider_apimart.emulator.media.videos import VideoSpec, make_video
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.media.renditions.installed import installed_fonts
from airflow_provider_apimart.media.renditions.look import wanted
from airflow_provider_apimart.media.renditions.order import order_of
from airflow_provider_apimart.media.workshop import Source, make
from dev.stage import REPO

FOLDER = REPO / "docs" / "pictures"
HEIGHT, GAP = 300, 12
#: The presets' shapes, small.
SHAPES: list[dict[str, Any]] = [
    {"preset": "youtube", "fit": "pad", "width": 534, "height": 300},
    {"preset": "reels", "fit": "blur", "width": 168, "height": 300},
    {"preset": "square", "fit": "crop", "width": 300, "height": 300},
    {"preset": "feed", "fit": "blur", "width": 240, "height": 300},
]
TALL: dict[str, Any] = {"preset": "reels", "fit": "blur", "width": 252, "height": 448}
CAPTIONS = (
    "새벽의 첫 커피, 오늘 출시! ☕",
    "أول قهوة في الصباح ☕ خصم 20%",
    "夜明けの一杯。本日発売。",
    "सुबह की पहली कॉफ़ी ☕",
)


def renditions(clip: Path, shapes: Sequence[dict[str, Any]], **look: Any) -> list[Path]:
    """Make renditions of a clip, as the operator does, and return their paths."""
    asked, problems = wanted(list(shapes), **look)
    if asked is None:
        raise SystemExit("; ".join(map(str, problems)))
    order = order_of(
        Source(file_of(str(clip), "video")),
        asked,
        lambda name, path: Source(file_of(path, name)),
        installed_fonts,
        seconds=120,
        memory_bytes=2 * 1024**3,
    )
    return [Path(output.as_result()["path"]) for output in make(order)]


def picture(path: Path, share: float) -> Any:
    """Return a picture of a video, at a share of its length."""
    with av.open(str(path)) as container:
        frames: list[Any] = list(container.decode(video=0))
    return frames[int((len(frames) - 1) * share)].to_image()


def side_by_side(pictures: Sequence[Any]) -> Any:
    """Return one picture of several."""
    width = sum(each.width for each in pictures) + GAP * (len(pictures) - 1)
    sheet = Image.new("RGB", (width, max(each.height for each in pictures)), "white")
    left = 0
    for each in pictures:
        sheet.paste(each, (left, 0))
        left += each.width + GAP
    return sheet


def main() -> int:
    """Draw them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        clip = Path(name, "clip.mp4")
        make_video(VideoSpec(1280, 720, 4, True, "a kettle on a mountain at dawn", ("4 s  1280x720",)), clip)
        logo = Path(name, "logo.png")
        Image.new("RGBA", (300, 90), (255, 196, 0, 220)).save(logo)
        shapes = [picture(path, 0.4) for path in renditions(clip, SHAPES, logo=str(logo))]
        side_by_side(shapes).save(FOLDER / "renditions-shapes.webp", quality=80)
        tall = [picture(renditions(clip, [TALL], captions={"text": text})[0], 0.4) for text in CAPTIONS]
        card = {"text": "Alpine Kettle\nshop.example.com", "background": "#203050"}
        tall.append(picture(renditions(clip, [TALL], end_card=card)[0], 1))
        side_by_side(tall).save(FOLDER / "renditions-captions.webp", quality=80)
    for path in sorted(FOLDER.glob("renditions-*.webp")):
        print(f"{path.relative_to(REPO)}: {path.stat().st_size / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
