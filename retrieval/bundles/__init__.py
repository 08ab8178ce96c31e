"""Bundles on disk: writes them, opens them, and records which one is current."""
