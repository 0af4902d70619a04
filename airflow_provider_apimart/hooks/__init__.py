"""Airflow's connections, record stores, files and databases, made plain for the rooms below.

The rooms below know nothing of Airflow. The API key is read here, and handed to the client alone.
"""
