"""Gives the packages below access to Airflow's connections, record stores, files and databases.

The packages below know nothing of Airflow. The API key is read here, and handed only to the client.
"""
