"""Chooses an index by measuring many kinds on the user's own vectors."""
