"""Puts the routes into one application, below a layer that logs requests and plays faults of the connection.

Every request to the API, the media and the CMS is logged; the log never holds a key.
"""
