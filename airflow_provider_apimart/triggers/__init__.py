"""Triggers: the wait for a generation in Airflow's triggerer."""
