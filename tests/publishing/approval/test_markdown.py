"""Text from outside stays text: in a line, in a table's cell, in a block."""

from __future__ import annotations

import itertools
import re

from airflow_provider_apimart.publishing.approval.case import Candidate, Case
from airflow_provider_apimart.publishing.approval.form import Place, Shown, Terms, body_of, subject_of
from airflow_provider_apimart.publishing.approval.markdown import block, inline
from airflow_provider_apimart.publishing.approval.sheet import sheet_body

CANDIDATE = Candidate(number=1, take=1, path="/data/clip.mp4", bytes=1, sha256="a" * 64)
PLACE = Place("ads", "monday", "approve")


def cells(line: str) -> list[str]:
    """Cut a line of a table as micromark does, which Airflow's pages use: a backslash takes a backslash or a bar."""
    found, at = [""], 0
    while at < len(line):
        if line[at] == "\\" and line[at + 1 : at + 2] in ("\\", "|"):
            found[-1] += line[at : at + 2]
            at += 2
        elif line[at] == "|":
            found.append("")
            at += 1
        else:
            found[-1] += line[at]
            at += 1
    return found


def test_no_text_leaves_its_cell_or_its_code() -> None:
    for length in range(1, 6):
        for text in map("".join, itertools.product("\\|`x", repeat=length)):
            told = inline(text)
            fence = told[: len(told) - len(told.lstrip("`"))]
            # A run of as many backticks ends the code.
            runs = re.findall("`+", told)
            assert len(cells(told)) == 1 and runs[0] == runs[-1] == fence and runs.count(fence) == 2, told


def test_a_picture_behind_a_backslash_and_a_bar_stays_text_in_a_sheet() -> None:
    prompt = r"a cat \| ![](https://evil.example/seen.png) \| x"
    rows = sheet_body("", [CANDIDATE], [Shown(prompt=prompt)], PLACE).splitlines()
    (row,) = [line for line in rows if line.startswith("| 1")]
    assert len(cells(row)) == 7
    (cell,) = [cell.strip() for cell in cells(row) if "evil" in cell]
    assert cell.startswith("`a cat") and cell.endswith("x`")


def test_marks_of_direction_and_fences_do_nothing_in_a_form() -> None:
    case = Case(epoch=0, candidates=(CANDIDATE,))
    shown = Shown(prompt="\u202egnp.exe\x07 ```\n![](https://evil.example/x.png)\n````")
    subject = subject_of(case, shown)
    assert "\u202e" not in subject and "\x07" not in subject
    body = body_of(case, [shown], PLACE, Terms())
    assert "\u202e" not in body
    fence = next(line for line in body.splitlines() if line.endswith("text") and line.startswith("`"))[:-4]
    assert len(fence) == 5 and block(shown.prompt).endswith(fence)
