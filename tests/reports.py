"""What tests of reports share."""

from typing import Any


def without_times(document: Any) -> Any:
    """A report's JSON without its milliseconds, which differ from run to run."""
    if isinstance(document, dict):
        return {key: without_times(value) for key, value in document.items() if not key.endswith("_ms")}
    return [without_times(entry) for entry in document] if isinstance(document, list) else document
