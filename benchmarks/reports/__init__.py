"""Makes docs/benchmarks.md and its pictures from the results.

Measures nothing, and writes no figure that is not in the results.
"""
