"""Makes the videos and serves their bytes as a media host does.

A video appears under its name whole, and the name says everything that went into it.
"""
