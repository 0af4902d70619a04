"""Measurements that the docs quote: ``python -m benchmarks``.

Each figure on the page comes from a run, together with the command and the machine.
"""
