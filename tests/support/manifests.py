"""A description of a build that nobody made, for bundles whose manifest is not what a test is about."""

from typing import Any

DESCRIPTION: dict[str, Any] = {
    "data": {"name": "invented", "sha256": "0" * 64, "rows": 10},
    "split": {
        "kind": "time",
        "validation_start": 1.0,
        "test_start": 2.0,
        "counts": {
            **{"train": 7, "validation": 1, "test": 2, "warm_validation": 1, "warm_test": 2},
            **{"users": 3, "items": 4, "test_users": 1, "duplicates": 0},
        },
    },
    "settings": {"seed": 1, "threads": 1, "positive_threshold": 4.0, "preset": None},
    "validation": {"metric": "ndcg@10", "value": 0.5, "users": 1},
    "training": {
        "towers": [{"epochs": 1, "curve": [{"epoch": 1, "loss": 0.5, "validation": 0.5}]}],
        "neural_mf": None,
    },
}
GATE = {
    **{"against": "20260101-000000-0123456789ab", "max_regression": 0.01, "new": 0.5, "users": 1},
    **{"current": 0.6, "low": None, "high": None, "note": None, "metric": "ndcg@10", "held": True},
}
