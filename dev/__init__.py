"""Developer tools: a local Airflow, the demo, the import rule. None of it is shipped."""
