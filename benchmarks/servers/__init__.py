"""The servers that are measured against, on loopback, each in a process of its own.

They are fast enough not to distort the measurements.
"""
