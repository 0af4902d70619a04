"""Turns the rows and cells of a prompt table, from files or records, into checked requests.

All problems of a table are reported together, before anything is paid for.
"""
