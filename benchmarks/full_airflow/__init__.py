"""What is measured with a whole Airflow around it: its triggerer, mapped tasks, batches.

Needs a database and minutes; runs only when it is named.
"""
