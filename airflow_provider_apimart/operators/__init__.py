"""The operators: what a DAG's author writes, checked where it is written, and carried out by the rooms below.

Sync and deferrable differ only in who waits, and return the same result.
"""
