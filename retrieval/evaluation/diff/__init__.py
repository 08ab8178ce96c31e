"""Compares two bundles: what they hold, how far their lists agree, which lists are better."""
