"""APIMart's HTTP API: requests, models, errors, calls without I/O, two thin senders, and the rules for repeats.

The API key goes to the API's own host and nowhere else. What a call leaves unknown is never reported as a failure.
"""
