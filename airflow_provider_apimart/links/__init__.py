"""Buttons on the task."""
