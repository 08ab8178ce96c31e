"""What answers a request: candidates, re-ranking, filters. NumPy only: no torch, no polars, no pandas."""
