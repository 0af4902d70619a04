"""Operators: Airflow on one side, generation/ on the other."""
