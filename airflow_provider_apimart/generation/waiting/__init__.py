"""When to ask about a generation, and how often an account may be asked: poller, schedule and rate limiter.

A poll is never a verdict. Only APIMart's final word ends a wait, or the deadline, which is absolute.
"""
