"""Sensors: waiting for APIMart."""
