"""Adds items to a bundle and removes items from it, without training."""
