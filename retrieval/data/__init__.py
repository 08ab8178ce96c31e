"""Tables in, rows out: interactions, items and users, their ids, and the split by time. Loads no torch."""
