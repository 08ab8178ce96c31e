"""Named data sets: what is published about each, where its archive is, and how it gets here whole."""
