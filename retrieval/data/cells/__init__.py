"""Cells of a table: which can be used, and what they mean: ids, numbers, times."""
