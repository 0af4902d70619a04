"""One paid generation, from request to landed video. Imports nothing of Airflow."""
