"""The control side, under ``/_emulator/``: scripts faults, moves time, and shows what happened. And the page at ``/``.

Needs no key and is not part of APIMart.
"""
