"""Recognizes text that templates, tables and tools write for "no value". Pure.

A template that finds no value renders to ``None``, which must not be paid for as a prompt.
"""

from __future__ import annotations

#: The words for "no value" of Python, pandas, SQL and its dumps, JavaScript and spreadsheets.
_NULLS = frozenset(
    r"null none nan -nan nat nil undefined na n/a n.a. \n (null) <null> [null] <na> <none> #n/a #na #n/d #nv".split()
) | {"#n/a n/a"}
#: What a spreadsheet shows for a failed formula, including some translations.
_FORMULA_ERRORS = frozenset(
    "#ref! #value! #name? #div/0! #null! #num! #error! #spill! #calc! #getting_data #field! #blocked! #connect! #busy! "
    "#unknown! #external! #python! #circular! #bezug! #wert! #zahl! #valeur! #nom? #nombre! #\u00a1ref! "
    "#\u00a1valor! #\u00bfnombre? #\u00a1num! #\u00a1div/0!".split()
)
#: No such word is longer than this.
_LONGEST_WORD = 16
#: White space, control characters (old DOS ends a file with 0x1A), and zero-width characters.
_UNSEEN = "".join(
    chr(code)
    for first, last in (
        *((0x00, 0x20), (0x7F, 0xA0), (0xAD, 0xAD), (0x1680, 0x1680), (0x180E, 0x180E), (0x2000, 0x200F)),
        *((0x2028, 0x202F), (0x205F, 0x206F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)),
    )
    for code in range(first, last + 1)
)
_EMPTY_JSON = frozenset(("{}", "[]", '""'))
#: What a decoder puts in place of bytes that it could not decode.
_LOST = "\ufffd"


def is_null_word(text: str) -> bool:
    """Return whether a text holds nothing but a word for "no value".

    That is a tool's null word (``None``, ``N/A``), a spreadsheet's error (``#REF!``), the result of a failed decoding
    (U+FFFD), an empty JSON value (``{}``), or nothing visible: blank text, a lone zero-width space, NUL. Case does not
    matter.
    """
    return says_nothing(text) or is_damage(text) or strip(text) in _EMPTY_JSON


def says_nothing(text: str) -> bool:
    """Return whether a text deliberately means "no value"."""
    seen = strip(text)
    return not seen or (len(seen) <= _LONGEST_WORD and seen.lower() in _NULLS)


def is_damage(text: str) -> bool:
    """Return whether a text replaced a lost value: a failed formula, or characters that could not be decoded."""
    seen = strip(text)
    if seen.startswith("#"):
        return len(seen) <= _LONGEST_WORD and seen.lower() in _FORMULA_ERRORS
    return seen.startswith(_LOST) and not seen.strip(_LOST + _UNSEEN)


def strip(text: str) -> str:
    """Return a text without the invisible characters around it."""
    return text.strip(_UNSEEN)
