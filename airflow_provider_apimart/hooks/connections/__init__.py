"""Airflow connections: read, checked, and what hooks of them share."""
