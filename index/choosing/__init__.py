"""Chooses an index by measuring many kinds on a catalogue's own vectors."""
