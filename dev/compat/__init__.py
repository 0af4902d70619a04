"""``make compat``: the tests on other Airflows and Pythons, each cell in an environment of its own below ``.compat``.

A cell is an Airflow and a Python. Its packages are those of the Airflow's own constraints, if CONSTRAINTS names them;
else what the package index had on a day shortly after the release. A pin that the provider's own requirements exclude
is lifted, and the table in docs/compatibility.md names it. The table holds only what this command has run.
"""
