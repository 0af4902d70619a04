"""Makes the videos and serves their bytes as a media host does.

A video appears under its name only when it is complete, and the name is derived from all of its inputs.
"""
