"""From a path to the columns of a table: finds the file, tells its format, reads and names its columns."""
