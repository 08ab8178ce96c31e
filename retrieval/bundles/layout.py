"""Names of the files in a bundle, and which of them hold measured times."""

import re

MANIFEST = "manifest.json"
# What a file of a bundle may be called: lower case with an ending, in at most one folder.
FILE_NAME = re.compile(r"([a-z_]+/)?[a-z_]+\.[a-z]+")

# The two fitted systems, each in a folder of its own; the names of their files are below.
EVALUATED, SERVED = "evaluated", "served"

# Data and results of the evaluation.
INTERACTIONS, CHOICES = "evaluated/interactions.parquet", "evaluated/choices.json"
INDEX_CHOICE, VALIDATION = "evaluated/index_choice.json", "evaluated/validation_ndcg.npy"
RECALLS, TIMES = "evaluated/index_recalls.npy", "evaluated/index_milliseconds.npy"
# The files of `EVALUATED` that are not of its fitted system.
OF_EVALUATION = (INTERACTIONS, CHOICES, INDEX_CHOICE, VALIDATION, RECALLS, TIMES)

# For people.
REPORT, PAGE = "report.json", "report.html"
USERS, ITEMS = "users.parquet", "items.parquet"

# Files of a fitted system, without its folder.
MODEL, TOWERS, NEURAL_MF = "model.json", "towers.safetensors", "neural_mf.safetensors"
INDEX, ATTRIBUTES, FEATURE_NAMES = "index.faiss", "attributes.json", "features_names.json"
ITEM_VECTORS, USER_VECTORS = "item_vectors.npy", "user_vectors.npy"
SEEN_STARTS, SEEN_ITEMS = "seen_starts.npy", "seen_items.npy"
USER_IDS, ITEM_IDS, ITEM_TITLES, POPULARITY = (
    "user_ids.npy",
    "item_ids.npy",
    "item_titles.npy",
    "popularity.npy",
)
ATTRIBUTE_VALUES, ATTRIBUTE_STARTS = "attribute_values.npy", "attribute_starts.npy"
ATTRIBUTE_ROWS = "attribute_rows.npy"
# Only in some systems: the vectors of side features, and the row map of an index whose catalogue changed.
FEATURE_VECTORS, FEATURE_HISTORIES = "features_vectors.npy", "features_histories.npy"
INDEX_ROWS = "index_rows.npy"

# Builds of the same data, settings and seed differ in these files alone, which hold measured times, and in
# these keys of the manifest.
TIMED_FILES = frozenset({INDEX_CHOICE, TIMES, REPORT, PAGE})
MEASURED = frozenset({"created", "operating_points", "files", "build_id"})
