"""Rows of a prompt table, from SQL or a file, as requests."""
