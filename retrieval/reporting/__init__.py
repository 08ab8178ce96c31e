"""Shows reports to people: as text, as an HTML page, as a figure."""
