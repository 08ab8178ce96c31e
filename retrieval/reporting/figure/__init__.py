"""The picture of an index benchmark: recall against latency."""
