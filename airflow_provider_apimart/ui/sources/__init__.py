"""What is known of one task, and from where: Airflow's database, manifests, sidecars, files, the configuration.

Nothing here knows a route, or the gallery's index.
"""
