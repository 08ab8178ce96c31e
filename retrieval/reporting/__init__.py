"""Reports as text, as an HTML page and as a figure."""
