"""The peers that are measured beside us, and what is replaced for each.

Each peer runs through its own trigger class, as its users run it.
"""
