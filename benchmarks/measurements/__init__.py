"""What is measured on one event loop or in one process, and the arithmetic of it.

What is compared does the same work, side by side on the same machine.
"""
