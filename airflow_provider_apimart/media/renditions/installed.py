"""Which fonts this machine has, of the families that together cover most scripts."""

from __future__ import annotations

import os
from pathlib import Path

#: Where systems keep fonts.
FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts", "/Library/Fonts")
#: In this order each character is looked for.
FAMILIES = (
    "NotoSans-Regular.ttf", "DejaVuSans.ttf", "LiberationSans-Regular.ttf", "NotoSansCJK-Regular.ttc",
    "NotoSansCJKkr-Regular.otf", "NotoSansKR-Regular.ttf", "NanumGothic.ttf", "NotoSansArabic-Regular.ttf",
    "NotoNaskhArabic-Regular.ttf", "NotoSansHebrew-Regular.ttf", "NotoSansDevanagari-Regular.ttf",
    "NotoSansBengali-Regular.ttf", "NotoSansTamil-Regular.ttf", "NotoSansThai-Regular.ttf",
    "NotoSansGurmukhi-Regular.ttf", "NotoSansGujarati-Regular.ttf", "NotoSansTelugu-Regular.ttf",
    "NotoSansKannada-Regular.ttf", "NotoSansMalayalam-Regular.ttf", "NotoSansSinhala-Regular.ttf",
    "NotoSansMyanmar-Regular.ttf", "NotoSansKhmer-Regular.ttf", "NotoSansLao-Regular.ttf",
    "NotoSansEthiopic-Regular.ttf", "NotoSansGeorgian-Regular.ttf", "NotoSansArmenian-Regular.ttf",
    "NotoSansSymbols2-Regular.ttf", "NotoColorEmoji.ttf", "NotoEmoji-Regular.ttf",
)  # fmt: skip


def installed_fonts() -> tuple[str, ...]:
    """Return the paths of the known fonts that are installed, in the order of :data:`FAMILIES`."""
    found: dict[str, str] = {}
    for folder in FOLDERS:
        for place, _, names in os.walk(Path(folder).expanduser()):
            for name in names:
                if name in FAMILIES:
                    found.setdefault(name, str(Path(place, name)))
    return tuple(found[name] for name in FAMILIES if name in found)
