"""What tasks tell others: notes for the pages, metrics, lineage."""
