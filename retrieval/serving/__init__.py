"""Answers requests: candidates, re-ranking, filters. It loads no torch, polars or pandas."""
