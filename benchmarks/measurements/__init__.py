"""Measurements on one event loop or in one process, and their arithmetic.

Everything that is compared does the same work, side by side on the same machine.
"""
