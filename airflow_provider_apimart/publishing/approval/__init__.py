"""A person decides on a video before it is published: the case, the form, the answer. Without Airflow."""
