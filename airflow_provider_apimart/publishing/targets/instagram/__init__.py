"""Instagram: a video becomes a Reel, once."""
