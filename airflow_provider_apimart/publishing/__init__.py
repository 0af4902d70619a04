"""One post: from a video in storage to a public URL, once. Knows nothing of Airflow.

``publish.py`` is the only file that makes something public. ``decide.py`` is the table of what to do next. Each target
(``targets/``) builds requests and reads answers; ``exchange.py`` sends them.
"""
