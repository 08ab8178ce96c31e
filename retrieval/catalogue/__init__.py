"""Adds items to a bundle and removes them, without training."""
