"""Carries out a plan: submits, polls and lands rows within the limits, and journals what becomes of each.

A row is submitted only after its intent is durable. Running generations are landed, whatever stops the submissions.
"""
