"""From a path to typed columns: finds the file, tells its format, reads its rows, interprets its columns."""
