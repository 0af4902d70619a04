"""Joins clips into one video: copies what agrees, encodes the rest once. Runs in the child process (:mod:`..child`)."""
