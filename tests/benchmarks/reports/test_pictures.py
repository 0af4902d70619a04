from __future__ import annotations

from benchmarks.reports.pictures import DARK, INK, PAPER, with_dark


def test_what_a_picture_uses_has_a_colour_on_dark() -> None:
    svg = f'<svg><style type="text/css">*</style><path style="fill: {INK}"/><path style="stroke: {PAPER}"/></svg>'
    dark = with_dark(svg)
    assert f'[style*="fill: {INK}"] {{ fill: {DARK[INK]} !important }}' in dark
    assert f'[style*="stroke: {PAPER}"]' in dark and f'[style*="stroke: {INK}"]' not in dark
