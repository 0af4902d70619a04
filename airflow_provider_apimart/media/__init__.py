"""What a video shows, measured from its decoded pictures and sound. Needs the extra ``media``; knows no Airflow.

Files come from outside. So whatever decodes one runs in a process of its own (``child.py``), with a bound on memory and
time, and a file that makes the decoder crash takes nothing else down.
"""
