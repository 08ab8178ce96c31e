"""Named data sets: their published figures, the sources of their archives, and complete downloads."""
