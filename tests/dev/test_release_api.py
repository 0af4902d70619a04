"""What counts as a break of a public name, of a deferred trigger or of something stored."""

from __future__ import annotations

import copy
import enum
import json
from typing import Any

import pytest
from pydantic import BaseModel

from airflow_provider_apimart import get_provider_info
from dev.release import api, breaks

OLD: dict[str, Any] = {
    "version": "1.0.0",
    "names": {
        "room.Operator": {
            "bases": ["BaseOperator"],
            "parameters": {"prompt": "positional", "model": "positional = 'a'", "seed": "keyword = None"},
            "methods": {"execute_complete": {"context": "positional", "event": "positional"}},
            "template_fields": ["prompt"],
        },
        "room.function": {"parameters": {"path": "positional"}},
    },
    "triggers": {
        "room.Trigger": {
            "parameters": {"id": "keyword", "kind": "keyword = None"},
            "always": ["id"],
            "ever": ["id", "kind"],
        },
    },
    "stored": {"record": {"state": "needed str", "note": "str | None"}, "outcome": {"landed": "value"}},
    "versions": {"plan": 1},
    "connections": {"apimart": ["timeout"]},
    "options": {"apimart.gallery": "boolean"},
    "commands": {"audit": ["--from"]},
}
OPERATOR = ("names", "room.Operator")
TRIGGER = ("triggers", "room.Trigger")


def changed(*path: str, to: Any = None) -> list[str]:
    """Return what breaks when the value at a path is another one, or gone."""
    new = copy.deepcopy(OLD)
    at: Any = new
    for step in path[:-1]:
        at = at[step]
    if to is None:
        del at[path[-1]]
    else:
        at[path[-1]] = to
    return breaks.breaks(OLD, new)


def test_nothing_breaks_where_nothing_changes() -> None:
    assert breaks.breaks(OLD, OLD) == []


@pytest.mark.parametrize(
    ("path", "to", "said"),
    [
        (("names", "room.function"), None, "room.function is gone"),
        ((*OPERATOR, "parameters", "seed"), None, "the parameter seed is gone"),
        ((*OPERATOR, "parameters", "seed"), "keyword", "seed must be given now"),
        ((*OPERATOR, "parameters", "seed"), "keyword = 7", "the default of seed was None and is 7"),
        ((*OPERATOR, "parameters", "model"), "keyword = 'a'", "model was positional and is keyword"),
        ((*OPERATOR, "parameters", "new"), "keyword", "the new parameter new must be given"),
        ((*OPERATOR, "bases"), [], "room.Operator is no BaseOperator any more"),
        ((*OPERATOR, "methods"), {}, "room.Operator.execute_complete is gone"),
        ((*OPERATOR, "methods", "execute_complete", "event"), None, "the parameter event is gone"),
        ((*OPERATOR, "template_fields"), [], "prompt is no template any more"),
        (TRIGGER, None, "room.Trigger is gone, and tasks are deferred to it"),
        ((*TRIGGER, "parameters", "kind"), None, "does not take kind any more"),
        ((*TRIGGER, "parameters", "new"), "keyword", "needs new, which deferred tasks have not stored"),
        ((*TRIGGER, "always"), ["id", "new"], "always stores new, which a triggerer"),
        (("stored", "record"), None, "record is gone"),
        (("stored", "record", "note"), None, "record has no note any more"),
        (("stored", "record", "note"), "int | None", "record.note was str | None and is int | None"),
        (("stored", "record", "new"), "needed int", "record needs new"),
        (("stored", "outcome", "landed"), None, "outcome has no landed any more"),
        (("versions", "plan"), 2, "plan was 1 and is 2"),
        (("connections", "apimart"), [], "the connection type apimart has no field timeout any more"),
        (("connections", "apimart"), None, "the connection type apimart is gone"),
        (("options", "apimart.gallery"), None, "the option apimart.gallery was boolean and is gone"),
        (("commands", "audit"), [], "the command audit has no --from any more"),
        (("commands", "audit"), None, "the command audit is gone"),
    ],
)  # fmt: skip
def test_a_break_is_told(path: tuple[str, ...], to: Any, said: str) -> None:
    (found,) = changed(*path, to=to)
    assert said in found


def test_positions_keep_their_meaning() -> None:
    swapped = {"model": "positional = 'a'", "prompt": "positional", "seed": "keyword = None"}
    assert "the order of positional parameters" in changed(*OPERATOR, "parameters", to=swapped)[0]
    before = {"new": "positional = 1", **OLD["names"]["room.Operator"]["parameters"]}
    assert "was put before model" in changed(*OPERATOR, "parameters", to=before)[0]


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("names", "room.new"), {"parameters": {}}),
        ((*OPERATOR, "parameters", "new"), "keyword = None"),
        ((*OPERATOR, "parameters", "seed"), "positional = None"),
        ((*TRIGGER, "parameters", "new"), "keyword = None"),
        ((*TRIGGER, "ever"), ["id", "kind", "new"]),
        (("stored", "record", "new"), "int"),
        (("stored", "record", "state"), "str"),
        (("versions", "new"), 1),
        (("commands", "new"), []),
    ],
)
def test_what_is_added_breaks_nothing(path: tuple[str, ...], to: Any) -> None:
    assert changed(*path, to=to) == []


def test_an_accepted_break_is_no_problem_and_a_stale_acceptance_is_one() -> None:
    accepted = breaks.accepted_of("# why\nroom.function is gone\n\n")
    assert breaks.problems(["room.function is gone"], accepted) == []
    assert breaks.problems(["another is gone"], accepted) == [
        "another is gone",
        "accepted.txt accepts what does not break: room.function is gone",
    ]


class Colour(enum.StrEnum):
    RED = "red"


class Kept(BaseModel):
    """Stored."""

    state: Colour
    note: str | None = None


def test_stored_fields_say_whether_they_must_be_there() -> None:
    assert api.fields_of(Kept) == {"state": "needed <enum 'Colour'>", "note": "str | None"}
    assert api.fields_of(Colour) == {"red": "value"}


def test_defaults_are_the_same_text_in_every_process() -> None:
    assert [api.default_text(one) for one in (None, "a", 1.5, Colour.RED, (1, "b"), object())] == [
        *("None", "'a'", "1.5", "Colour.RED", "tuple(1, 'b')", "<object>")
    ]


class Lost:
    """A trigger whose path leads elsewhere."""

    def __init__(self, *, generation_id: str) -> None:
        self.generation_id = generation_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "dev.release.api.Lost", {"generation_id": self.generation_id}


def test_a_trigger_must_be_found_again_by_its_path() -> None:
    with pytest.raises(ValueError, match=r"dev\.release\.api\.Lost, which does not lead to it"):
        api.serialized(Lost)


def test_this_version_keeps_what_the_last_release_promised() -> None:
    old = json.loads(api.FILE.read_text())
    new = api.snapshot(get_provider_info())
    accepted = breaks.accepted_of(api.FILE.with_name("accepted.txt").read_text())
    assert breaks.problems(breaks.breaks(old, new), accepted) == []
    # Nothing that the snapshot looks for has moved away from under it.
    assert new["stored"].keys() == api.STORED_CLASSES.keys()
    assert new["versions"].keys() == api.STORED_VERSIONS.keys()
    assert len(new["triggers"]) >= 4
