"""One paid generation, from request to landed video; each step is a room of its own.

Nothing in these rooms imports Airflow, and no two of them import each other.
"""
