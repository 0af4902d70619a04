"""Files in any storage: places and names, uploads, checksums, permissions, and commits.

A file appears under its name whole or not at all. This package knows nothing about generations.
"""
