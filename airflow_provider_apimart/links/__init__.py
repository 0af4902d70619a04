"""Operator extra links: buttons on the task instance's page."""
