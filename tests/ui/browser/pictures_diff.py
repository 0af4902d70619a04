"""Compares a screenshot with the committed one, so that another font or another Chromium is no difference."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent / "pictures"
#: The pictures are compared as mosaics of cells of about this many pixels: text is a shade of grey there.
CELL = 16
#: Of 255; a panel that moved, a wrong theme or a missing player is far above.
TOLERANCE = 40
#: How many of the cells may differ: a line that wraps elsewhere moves what is below it.
SHARE = 0.08


def difference(name: str, shot: bytes) -> str:
    """Return what is different, or nothing. With ``APIMART_NEW_PICTURES=1`` the picture is kept as the right one.

    :param name: of the file in ``pictures/``.
    :param shot: a PNG.
    """
    file = FOLDER / f"{name}.png"
    if os.environ.get("APIMART_NEW_PICTURES"):
        # 64 colours: a quarter of the size, and nobody sees it.
        Image.open(io.BytesIO(shot)).convert("RGB").quantize(64).save(file, optimize=True)
    expected, seen = Image.open(file).convert("RGB"), Image.open(io.BytesIO(shot)).convert("RGB")
    if abs(expected.height - seen.height) > 0.15 * expected.height or expected.width != seen.width:
        return f"{name}: {seen.size} instead of {expected.size}"
    size = (expected.width // CELL, expected.height // CELL)
    cells = [np.asarray(each.resize(size, Image.Resampling.BOX), dtype=float) for each in (expected, seen)]
    far = (np.abs(cells[0] - cells[1]).max(axis=2) > TOLERANCE).mean()
    return f"{name}: {far:.0%} of the picture is different" if far > SHARE else ""
