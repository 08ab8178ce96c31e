"""report.html: a report document as one self-contained page, its plots drawn by matplotlib."""
