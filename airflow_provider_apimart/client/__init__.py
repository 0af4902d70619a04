"""APIMart's HTTP API. Imports nothing of Airflow."""
