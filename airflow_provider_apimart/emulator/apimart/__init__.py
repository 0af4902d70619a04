"""APIMart's API as routes: models and prices, submissions, tasks, uploads and balances.

Written from the API's contract and not from our client, because the emulator tests the client's own checks.
"""
