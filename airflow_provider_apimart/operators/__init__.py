"""The operators: they check the arguments that a DAG's author writes, and leave the work to the packages below.

The sync and the deferrable path differ only in which process waits. They return the same result.
"""
