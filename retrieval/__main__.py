"""`python -m retrieval` is the same as `retrieval`."""

from retrieval.cli import main

main()
