"""Measures how good the lists are, stage by stage, on the temporal test slice."""
