"""Which column of a table is which parameter, and the error for a table whose columns cannot be identified.

A column is a parameter if its name differs from the parameter's only in case, spaces, hyphens and underscores ("Aspect
Ratio", "aspectRatio"). If a name only resembles one ("seconds", "promt"), the table is refused and the user has to
decide. As a label, the column would leave the parameter at its default, and a program that pays must not guess. A
column that resembles no parameter is a label.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_apimart.client.null_words import strip
from airflow_provider_apimart.client.request import VeoRequest

#: How closely a name must resemble a parameter's to be refused, and to be worth a warning.
LIKENESS, SOME_LIKENESS = 0.9, 0.8
#: How many columns an error's text names.
MAX_NAMES = 30

#: Zero-width characters that have no meaning in a name. (Joiners do have one, in Persian and in emoji.)
_NO_WIDTH = dict.fromkeys((0x00AD, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF))
_JOINERS = dict.fromkeys((0x200C, 0x200D))
_BY_LETTERS = {name.replace("_", ""): name for name in VeoRequest.FIELDS}
#: Names that other video APIs, and people, use for a parameter.
_OTHER_NAMES = {
    **dict.fromkeys(
        "seconds secs durationseconds durationsecs durationsec durationinseconds durationinsecs durationins "
        "videoduration clipduration videoseconds clipseconds videolength cliplength lengthseconds".split(),
        "duration",
    ),
    **dict.fromkeys("ratio aspect videoratio videoaspectratio".split(), "aspect_ratio"),
    **dict.fromkeys("videoresolution outputresolution".split(), "resolution"),
    **dict.fromkeys("negprompt negativetext promptnegative".split(), "negative_prompt"),
    **dict.fromkeys("audio withaudio includeaudio enableaudio audioenabled generatesound".split(), "generate_audio"),
    **dict.fromkeys("firstframe firstimage startframe startimage startframeimage".split(), "first_frame_image"),
    **dict.fromkeys("lastframe lastimage endframe endimage endframeimage".split(), "last_frame_image"),
    **dict.fromkeys("numsamples numvideos numberofvideos numberofsamples videocount".split(), "sample_count"),
    **dict.fromkeys("randomseed seednumber".split(), "seed"),
    **dict.fromkeys("videoprompt veoprompt prompttext textprompt".split(), "prompt"),
    "promptenhancement": "enhance_prompt",
    "personsgeneration": "person_generation",
}
#: Parameters that are never matched by resemblance: too short to tell a typo from another word (mode, need), or one
#: letter away from a name of its own ("enhanced_prompt").
_NOT_BY_LIKENESS = frozenset({"model", "seed", "enhance_prompt"})
#: Columns that are often the prompt.
_PROMPT_LIKE = tuple("text caption description script instruction idea scene body content title query".split())


def clean_name(name: Any) -> str:
    """Return a column's name without invisible characters: byte order marks and zero-width characters."""
    return str(name).translate(_NO_WIDTH)


def parameter_of(name: str) -> str | None:
    """Return the parameter that a name equals if case, spaces, hyphens and underscores are ignored."""
    return _BY_LETTERS.get(re.sub(r"[\s_-]", "", name.translate(_NO_WIDTH | _JOINERS).lower()))


def near(name: str) -> str | None:
    """Return the parameter that a column's name is probably meant for."""
    return _OTHER_NAMES.get(_letters(name)) or slip(name)


@functools.lru_cache(maxsize=1024)
def slip(name: str) -> str | None:
    """Return the parameter that a name equals apart from a typo."""
    letters = _letters(name)
    if letters in _BY_LETTERS:
        return _BY_LETTERS[letters]
    for known, parameter in _BY_LETTERS.items():
        if parameter not in _NOT_BY_LIKENESS and (
            sorted(letters) == sorted(known)
            or difflib.SequenceMatcher(None, letters, known, autojunk=False).ratio() >= LIKENESS
        ):
            return parameter
    return None


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


@dataclass(frozen=True)
class Header:
    """The columns of a table whose records all have the same columns.

    :param hint: what the error says in addition if the columns turn out to be wrong.
    """

    names: tuple[str, ...]
    hint: str = ""


@dataclass
class Columns:
    """Which column is which parameter.

    :param renamed: maps a column to a parameter, or to another name, under which it is kept as a label.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    _known: dict[str, tuple[str, bool]] = field(default_factory=dict, init=False, repr=False)
    _targets: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self._targets = {clean_name(column): str(target) for column, target in self.renamed.items() if target}

    def of(self, column: str) -> tuple[str, bool]:
        """Return the name of a column's value, and whether it is a parameter."""
        if column not in self._known:
            name = clean_name(column)
            name = self._targets.get(name, name)
            parameter = parameter_of(name)
            self._known[column] = (parameter or name, parameter is not None)
        return self._known[column]

    def refusal(self, names: Iterable[str]) -> str | None:
        """Say what is wrong with a record that has columns of these names, if anything."""
        taken: dict[str, str] = {}
        for column in names:
            name, _ = self.of(column)
            if name in taken:
                return (
                    f"the columns {taken[name]!r} and {column!r} are both {name!r}; give one of them another name: "
                    f'columns={{{column!r}: "a label"}}'
                )
            taken[name] = column
        return self._asked_back(taken)

    def _asked_back(self, taken: Mapping[str, str]) -> str | None:
        """Return the question about labels whose names resemble parameters that the record does not have."""
        found: dict[str, str] = {}
        for name, column in taken.items():
            target = self._targets.get(clean_name(column))
            if self.of(column)[1] or (target is not None and _letters(target) == _letters(column)):
                # The column is a parameter, or a label that is to keep its name.
                continue
            meant = near(name) if target is None else slip(name)
            if meant is None or meant in taken:
                continue
            if target is not None:
                return f"columns={{{column!r}: {target!r}}}: no such parameter; did you mean {meant!r}?"
            found[column] = meant
        if not found:
            return None
        one = len(found) == 1
        return (
            f"the column{'' if one else 's'} {listed(found)} {'is no parameter' if one else 'are no parameters'}; did "
            f"you mean {listed(found.values())}? Then say so: columns={found!r}, or "
            f"columns={ {column: column for column in found}!r} to keep {'it as a label' if one else 'them as labels'}"
        )

    def not_there(self, header: Header | None, set_already: Collection[str]) -> str | None:
        """Return what the whole table lacks, if anything: a renamed column, or a prompt.

        :param header: the header, if the table has one; without it, the columns seen so far count.
        :param set_already: parameters that need no column.
        """
        names = list(header.names) if header else list(self._known)
        hint = header.hint if header else ""
        found = {clean_name(name) for name in names}
        has = f"it has {listed(names)}"
        if missing := [column for column in self._targets if column not in found]:
            return f"has no column {' or '.join(map(repr, missing))}; {has}{hint}"
        if "prompt" in set_already or any(self.of(name) == ("prompt", True) for name in names):
            return None
        labels = [name for name in names if not self.of(name)[1] and clean_name(name) not in self._targets]
        if not hint and labels and not any(near(name) == "prompt" for name in labels):
            # If a name resembles "prompt", the error asks about it and says what to write.
            hint = f". Say which one is the prompt: columns={{{_prompt_among(labels)!r}: 'prompt'}}"
        return f"has no column 'prompt'; {has}{hint}"

    @property
    def slips(self) -> dict[str, str]:
        """The labels seen so far that somewhat resemble a parameter that the table lacks, each with that parameter."""
        taken = {name for name, known in self._known.values() if known}
        likely = {
            column: difflib.get_close_matches(
                name.strip().lower().replace(" ", "_").replace("-", "_"), VeoRequest.FIELDS, n=1, cutoff=SOME_LIKENESS
            )
            for column, (name, known) in self._known.items()
            if not known and clean_name(column) not in self._targets
        }
        return {column: names[0] for column, names in likely.items() if names and names[0] not in taken}

    @property
    def seen(self) -> list[str]:
        """The columns of the table so far."""
        return list(self._known)


def _prompt_among(labels: list[str]) -> str:
    lowered = {strip(label).lower(): label for label in reversed(labels)}
    return next((lowered[name] for name in _PROMPT_LIKE if name in lowered), labels[0])


def listed(names: Iterable[str]) -> str:
    """Return names for an error's text."""
    shown = [repr(name) for name in names]
    left = len(shown) - MAX_NAMES
    return ", ".join(shown[:MAX_NAMES]) + (f" and {left:,} more" if left > 0 else "")
