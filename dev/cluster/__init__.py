"""``make cluster``: Airflow spread over nodes with Celery, losing one part after the other while videos are made."""
