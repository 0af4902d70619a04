"""Airflow connections into clients, Airflow's stores into record stores."""
