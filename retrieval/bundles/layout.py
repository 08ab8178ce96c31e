"""Names of the files in a bundle, and which of them hold measured times."""

INTERACTIONS, CHOICES, REPORT = "evaluated/interactions.parquet", "evaluated/choices.json", "report.json"
INDEX_CHOICE = "evaluated/index_choice.json"
PAGE, ITEMS = "report.html", "items.parquet"
VALIDATION = "evaluated/validation_ndcg.npy"
TIMES = "evaluated/index_milliseconds.npy"
# They hold times that were measured: builds of the same data, settings and seed differ in these files alone,
# and in these keys of the manifest.
TIMED_FILES = frozenset({INDEX_CHOICE, TIMES, REPORT, PAGE})
MEASURED = frozenset({"created", "operating_points", "files", "build_id"})
