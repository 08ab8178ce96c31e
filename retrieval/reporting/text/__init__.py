"""Prints reports on a terminal."""
