"""From a path to typed columns: what a file is, where its rows stand, what its columns mean."""
