"""Draws the benchmark's figure of recall against latency."""
