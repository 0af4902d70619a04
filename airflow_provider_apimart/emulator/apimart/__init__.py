"""APIMart's API as routes: models and prices, submissions, tasks, uploads and balances.

Written from the API's contract and not from our client, whose own checks are tested by it.
"""
