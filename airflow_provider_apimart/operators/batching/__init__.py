"""The steps of ``operators/batch.py``: its arguments, the plan, the work, the check and the end of the task."""
