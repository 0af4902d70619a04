"""Measurements inside a whole Airflow: its triggerer, mapped tasks, batches.

They need a database and take minutes, and run only when they are named.
"""
