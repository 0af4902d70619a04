"""From an expiring URL to a checked file in the user's storage, and paid videos that no task brings home any more.

Landed means whole: length, container and checksum are checked before the name appears.
"""
