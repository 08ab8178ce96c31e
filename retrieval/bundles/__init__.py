"""The format on disk: writes bundles, opens them, and knows which one is current."""
