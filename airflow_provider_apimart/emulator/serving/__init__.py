"""Combines the routes into one application, inside a layer that logs requests and produces connection faults.

Every request to the API, the media and the CMS is logged; the log never holds a key.
"""
