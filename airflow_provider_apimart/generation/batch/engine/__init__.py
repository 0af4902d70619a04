"""Works a plan off: submits, polls and lands rows within their limits, and writes down what becomes of each.

A row is submitted only after its intent is durable, and what runs is brought home whatever stops the submissions.
"""
