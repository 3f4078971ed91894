"""Who writes summaries."""
