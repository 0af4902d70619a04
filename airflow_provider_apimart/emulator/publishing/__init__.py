"""The publishing services on loopback: YouTube, Instagram, and a receiver of signed webhooks.

Kept in memory. What others would see is counted (:meth:`.World.posts`), so that a test can ask how often a video was
published, whatever crashed.
"""
