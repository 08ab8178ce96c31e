"""Measures recall against latency for the index of a bundle."""
