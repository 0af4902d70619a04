"""Writes to an object store that succeed only if nobody else has changed the object: one request, no gap.

``writes`` says what such writes are and finds out whether a store keeps its conditions; ``s3``, ``gcs`` and ``azure``
make them through the file systems that Airflow's providers open; ``stores`` chooses among them.
"""
