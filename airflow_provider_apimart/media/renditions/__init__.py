"""Renditions: one video in the shape, with the look and within the limits of each channel. Knows no Airflow.

:mod:`.presets` says what the networks take, :mod:`.look` what can be asked for, :mod:`.render` does the work in one
decode, in the child process (:mod:`airflow_provider_apimart.media.child`).
"""
