"""The triggers: waits in Airflow's triggerer.

A trigger never starts a paid generation under a new key, never blocks the event loop, and carries no secret.
"""
