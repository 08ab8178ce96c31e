"""report.html: a report document as one self-contained page, its plots drawn by matplotlib.

And the picture of a benchmark, in the same style, as a file of its own.
"""
