"""Compares two bundles: settings and catalogue, overlap of their lists, quality of their lists."""
