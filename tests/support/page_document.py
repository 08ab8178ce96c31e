"""A report document by hand, with every section the page can show, as report.json would hold it."""

import random
from typing import Any

STAGES = {
    "popularity": 0.1213,
    "recent_popularity": 0.1892,
    "ease": 0.2011,
    "item_knn": 0.1977,
    "exact": 0.2064,
    "ann": 0.2051,
    "exact+rerank": 0.2183,
    "ann+rerank": 0.2172,
}
GROUPS = (("warm", None, 824), ("cold, first 1", 1, 3171), ("cold, first 3", 3, 3170))
GROUPS += (("cold, first 5", 5, 3166), ("cold, first 10", 10, 3120), ("brand new", 0, 3175))  # type: ignore[assignment]


def around(value: float, by: float) -> dict[str, float]:
    return {"value": round(value, 6), "low": round(value - by, 6), "high": round(value + by * 1.1, 6)}


def full_document() -> dict[str, Any]:
    """Made anew, so that tests can change it; the same every time."""
    rng = random.Random(5)
    pairs = [("ann", "exact"), ("exact+rerank", "exact"), ("ann+rerank", "ann")]
    pairs += [(a, b) for a in ("exact", "exact+rerank", "ann+rerank") for b in list(STAGES)[:4]]
    return {
        "dataset": "ml-1m",
        "protocol": "standard",
        "k": 10,
        "positive_threshold": 4.0,
        "split": {
            "kind": "time", "train": 700148, "validation": 100020, "test": 200041, "warm_validation": 26246,
            "warm_test": 84804, "users": 4870, "items": 3633, "test_users": 857, "duplicates": 0,
        },
        "judged_users": 824,
        "cold_test_rows": 115237,
        "seen_test_rows": 0,
        "stages": {
            name: {
                "precision@10": around(ndcg * 0.93, 0.013),
                "recall@10": around(ndcg * 0.41, 0.009),
                "ndcg@10": around(ndcg, 0.0151),
                "coverage@10": round(rng.uniform(0.03, 0.4), 4),
                "popularity_rank@10": round(rng.uniform(50, 400), 2),
            }
            for name, ndcg in STAGES.items()
        },
        "comparisons": [
            {
                "stage": a, "against": b, "ndcg@10": around(STAGES[a] - STAGES[b], 0.0093),
                "p_value": 0.00021 if abs(STAGES[a] - STAGES[b]) > 0.01 else 0.1632,
            }
            for a, b in pairs
        ],
        "ann": {
            "index": "IVF64,Flat nprobe=12", "candidates": 200, "recall@candidates": 0.9612,
            "recall@candidates_interval": [0.9571, 0.9649], "rescued_by_exact": 0.0024,
            "exact_p50_ms": 0.402, "exact_p99_ms": 0.711, "ann_p50_ms": 0.143, "ann_p99_ms": 0.298,
        },
        "rating": {
            "rows": 84804, "rmse": 0.9123, "mae": 0.7189, "rmse_interval": [0.9021, 0.9229],
            "mae_interval": [0.7102, 0.7277], "bias_rmse": 0.9187, "bias_mae": 0.7263,
            "rmse_minus_bias_rmse": {"value": -0.0064, "low": -0.0091, "high": -0.0037},
        },
        "rerank": {
            "alpha": 0.3,
            "k": 10,
            "validation_curve": [
                {
                    "alpha": step / 10,
                    "ndcg@10": round(0.21 + 0.02 * step / 10 - 0.035 * (step / 10) ** 2, 6),
                    "gain": around(0.02 * step / 10 - 0.035 * (step / 10) ** 2, 0.0011 * step),
                }
                for step in range(11)
            ],
            "trend": 0.2,
            "trend_curve": [
                {"trend": weight, "ndcg@10": 0.21 + gain, "gain": around(gain, 0.002)}
                for weight, gain in ((0.0, 0.0), (0.2, 0.004), (0.5, -0.001))
            ],
            "newcomers": {"alpha": 0.0, "trend": 0.75, "k": 10, "validation_curve": [], "trend_curve": []},
        },
        "baselines": {"recent_window": 0.05, "ease_l2": 300.0, "item_knn_neighbours": 100.0},
        "attribution": {
            "relevant": 41234,
            "k": 10,
            "shares": {
                "listed": 0.0824, "not in catalogue": 0.0211, "filtered": 0.0007, "below depth": 0.3719,
                "missed by index": 0.0153, "dropped by re-ranker": 0.5086,
            },
        },
        "depth": {
            "k": 10,
            "knee": 100,
            "points": [
                {"candidates": n, "ndcg@10": around(v, 0.015), "p50_ms": 0.1 + n / 900, "p99_ms": 0.3 + n / 9}
                for n, v in ((10, 0.201), (20, 0.2084), (50, 0.2133), (100, 0.217), (200, 0.2172),
                             (400, 0.2175), (800, 0.2169))
            ],
        },
        "groups": [
            {
                "name": name,
                "history": history,
                "users": users,
                "ndcg": {
                    stage: around(ndcg * (0.7 + 0.05 * (history or 0)), 0.3 / users**0.5)
                    for stage, ndcg in STAGES.items()
                    if history != 0 or "popularity" in stage
                },
                "comparisons": [
                    {
                        "stage": "ann+rerank", "against": other, "difference": around(0.004, 0.005),
                        "p_value": 0.0415,
                    }
                    for other in ("recent_popularity", "ease", "item_knn")
                    if history != 0
                ],
            }
            for name, history, users in GROUPS
        ],
        "training": {
            "TwoTowerBPR": [
                {"epoch": e, "loss": 0.2 + 0.5 / e, "validation": 0.2 - 0.1 / e} for e in range(1, 13)
            ],
            "NeuralMF": [
                {"epoch": e, "loss": 0.7 + 0.4 / e, "validation": 0.91 + 0.1 / e} for e in range(1, 9)
            ],
        },
    }  # fmt: skip
