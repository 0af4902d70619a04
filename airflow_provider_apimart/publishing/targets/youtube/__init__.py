"""YouTube, through its Data API v3: a private upload, then one ``videos.update`` that makes it visible."""
