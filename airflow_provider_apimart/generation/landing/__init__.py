"""Copies videos from expiring URLs to checked files in the user's storage, also those that no task lands any more.

Landed means whole: length, container and checksum are checked before the file appears under its name.
"""
