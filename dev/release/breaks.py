"""What breaks for users, and for what they have stored, between two snapshots (``api.py``).

What is added never breaks. A change of a default or of a stored format's version does not break by itself, but it is
never made by accident either, so it is told as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: How ``api.py`` marks a field without a default.
NEEDED = "needed "


def _parameters(where: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    taken_anyway = any(kind == "any keyword" for kind in new.values())
    for name, was in old.items():
        now = new.get(name)
        if now is None:
            if not taken_anyway:
                yield f"{where}: the parameter {name} is gone"
            continue
        if was == now:
            continue
        (kind, _, default), (kind_now, _, default_now) = was.partition(" = "), now.partition(" = ")
        if default and not default_now:
            yield f"{where}: {name} must be given now"
        elif default and default != default_now:
            yield f"{where}: the default of {name} was {default} and is {default_now}"
        if kind != kind_now and (kind, kind_now) != ("keyword", "positional"):
            yield f"{where}: {name} was {kind} and is {kind_now}"
    for name, now in new.items():
        if name not in old and " = " not in now and not now.startswith("any "):
            yield f"{where}: the new parameter {name} must be given"
    # Only the order of what may be given by position matters.
    order = [name for name, was in old.items() if was.startswith("positional") and new.get(name, "").startswith("posi")]
    order_now = [name for name in new if name in order]
    if order != order_now:
        yield f"{where}: the order of positional parameters was {order} and is {order_now}"
    elif order and list(new)[: len(order)] != list(old)[: len(order)]:
        yield f"{where}: a parameter was put before {order[-1]}, so what is given by position means something else"


def _names(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name, was in old.items():
        now = new.get(name)
        if now is None:
            yield f"{name} is gone"
            continue
        yield from _parameters(name, was.get("parameters", {}), now.get("parameters", {}))
        yield from (f"{name} is no {base} any more" for base in was.get("bases", ()) if base not in now["bases"])
        for method, parameters in was.get("methods", {}).items():
            if method not in now["methods"]:
                yield f"{name}.{method} is gone"
            else:
                yield from _parameters(f"{name}.{method}", parameters, now["methods"][method])
        for field in was.get("template_fields", ()):
            if field not in now.get("template_fields", ()):
                yield f"{name}: {field} is no template any more"


def _triggers(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What is deferred while the upgrade happens: an old worker's arguments, and a triggerer that is still old."""
    for path, was in old.items():
        now = new.get(path)
        if now is None:
            yield f"{path} is gone, and tasks are deferred to it"
            continue
        for key in was["ever"]:
            if key not in now["parameters"]:
                yield f"{path} does not take {key} any more, which deferred tasks have stored"
        for key, kind in now["parameters"].items():
            if " = " not in kind and key not in was["always"]:
                yield f"{path} needs {key}, which deferred tasks have not stored"
        for key in now["always"]:
            if key not in was["ever"]:
                yield f"{path} always stores {key}, which a triggerer that is not upgraded yet does not take"


def _fields(old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for name, fields in old.items():
        if name not in new:
            yield f"stored: {name} is gone"
            continue
        for field, was in fields.items():
            now = new[name].get(field)
            if now is None:
                yield f"stored: {name} has no {field} any more"
            elif now not in (was, was.removeprefix(NEEDED)):
                yield f"stored: {name}.{field} was {was} and is {now}"
        for field, now in new[name].items():
            if field not in fields and now.startswith(NEEDED):
                yield f"stored: {name} needs {field}, which what is stored does not have"


def breaks(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return what breaks between two snapshots, one text each, in a lasting order.

    A text is what ``accepted.txt`` has to repeat when the break is meant.
    """
    found = [
        *_names(old["names"], new["names"]),
        *_triggers(old["triggers"], new["triggers"]),
        *_fields(old["stored"], new["stored"]),
    ]
    for name, was in old["versions"].items():
        now = new["versions"].get(name)
        if now != was:
            found.append(f"stored: {name} was {was} and is {now}")
    for kind, fields in old["connections"].items():
        if kind not in new["connections"]:
            found.append(f"the connection type {kind} is gone")
            continue
        gone = [field for field in fields if field not in new["connections"][kind]]
        found += [f"the connection type {kind} has no field {field} any more" for field in gone]
    for option, was in old["options"].items():
        now = new["options"].get(option)
        if now != was:
            found.append(f"the option {option} was {was} and is {now or 'gone'}")
    for command, options in old["commands"].items():
        if command not in new["commands"]:
            found.append(f"the command {command} is gone")
            continue
        gone = [option for option in options if option not in new["commands"][command]]
        found += [f"the command {command} has no {option} any more" for option in gone]
    return found


def accepted_of(text: str) -> list[str]:
    """Return the breaks that ``accepted.txt`` accepts: its lines without comments and blanks."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def problems(found: list[str], accepted: list[str]) -> list[str]:
    """Return the breaks that nobody has accepted, and the accepted ones that are none (any more)."""
    stale = [f"accepted.txt accepts what does not break: {one}" for one in accepted if one not in found]
    return [one for one in found if one not in accepted] + stale
