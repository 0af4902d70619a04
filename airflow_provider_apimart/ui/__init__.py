"""The plugin: pages and routes inside Airflow's own, for people who look at videos.

Only the API server uses it. The other components load ``plugin.py`` alone, which is why that module imports nothing.
"""
