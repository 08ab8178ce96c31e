"""The results of `benchmark_quality.py` as JSON and tables: a row a model, ours paired with the others."""

import contextlib
import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from peers import Setting

from retrieval.evaluation.judgements import StageScores
from retrieval.evaluation.uncertainty import Estimate, mean_estimate, sign_flip_p_value
from retrieval.reporting.text.tables import format_table

PACKAGES = ("two-stage-retrieval", "numpy", "scipy", "torch", "implicit", "lenskit", "pandas")


class Trial(NamedTuple):
    """A setting tried on validation: its NDCG@k there, and the seconds that fitting and judging took."""

    setting: Setting
    ndcg: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """One model's results.

    Attributes:
        setting: the chosen one; what it leaves out is the default.
        tried: what it was chosen from; empty where something else chose.
        validation, test: one for each seed; one in all where the model does not depend on it.
        seconds: of a fit with the chosen setting, mean over the seeds.
    """

    name: str
    setting: Setting
    tried: tuple[Trial, ...]
    validation: tuple[StageScores, ...]
    test: tuple[StageScores, ...]
    seconds: float

    def test_ndcg(self) -> np.ndarray:
        """NDCG of each user on test, the mean over the seeds."""
        return np.mean([scores.ndcg for scores in self.test], axis=0)

    def to_json(self, k: int, seeds: Sequence[int]) -> dict[str, Any]:
        """A document of plain JSON types."""
        metrics = ("precision", "recall", "ndcg")
        means = {name: np.mean([getattr(each, name) for each in self.test], axis=0) for name in metrics}
        return {
            "setting": self.setting,
            "tried": [trial._asdict() for trial in self.tried],
            "validation": {f"ndcg@{k}": mean_ndcg(self.validation)},
            "test": {f"{name}@{k}": asdict(mean_estimate(values)) for name, values in means.items()},
            # zip ends at the one seed of a model that does not depend on it
            "seeds": {str(seed): mean_ndcg([each]) for seed, each in zip(seeds, self.test, strict=False)},
            "search_seconds": sum(trial.seconds for trial in self.tried),
            "fit_seconds": self.seconds,
        }


@dataclass(frozen=True)
class Paired:
    """NDCG@k on test of one row minus another's, user by user, each user's a mean over the seeds."""

    row: str
    against: str
    difference: Estimate
    p_value: float

    @classmethod
    def of(cls, row: Row, against: Row) -> "Paired":
        """The difference of two rows, with its interval and p-value."""
        differences = row.test_ndcg() - against.test_ndcg()
        return cls(row.name, against.name, mean_estimate(differences), sign_flip_p_value(differences))


def mean_ndcg(scores: Sequence[StageScores]) -> float:
    """Mean over seeds and users."""
    return float(np.mean([each.ndcg.mean() for each in scores]))


def installed_versions() -> dict[str, str]:
    """Versions of the packages that the figures depend on."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def text(found: dict[str, Any]) -> str:
    """The results as text: the models, what was chosen, and ours against each of the others."""
    title = (
        f"{found['dataset']}: {found['judged_users']} users with a relevant test item, "
        f"seeds {', '.join(map(str, found['seeds']))}, at most {found['budget']['settings']} settings a model"
    )
    chosen = (f"{name}: {_shown(model['setting'])}" for name, model in found["models"].items())
    note = "fit s: of ours the whole build without refit, evaluation included; of the baselines all together"
    return "\n\n".join((title, f"{_models(found)}\n{note}", "\n".join(chosen), _comparisons(found)))


def _models(found: dict[str, Any]) -> str:
    k = found["k"]
    lines = [
        [
            name,
            f"{model['validation'][f'ndcg@{k}']:.4f}",
            _interval(model["test"][f"ndcg@{k}"]),
            f"{model['test'][f'precision@{k}']['value']:.4f}",
            f"{model['test'][f'recall@{k}']['value']:.4f}",
            str(len(model["tried"]) or "-"),
            f"{model['search_seconds']:.0f}",
            f"{model['fit_seconds']:.1f}",
        ]
        for name, model in found["models"].items()
    ]
    header = ["model", "validated", f"NDCG@{k}, test", f"P@{k}", f"R@{k}", "tried", "search s", "fit s"]
    return format_table(header, lines, right=range(1, len(header)))


def _comparisons(found: dict[str, Any]) -> str:
    lines = [
        [each["row"], each["against"], _interval(each["difference"], "+"), f"{each['p_value']:.4f}"]
        for each in found["comparisons"]
    ]
    return format_table([f"NDCG@{found['k']} of", "minus", "paired difference", "p"], lines, right=[2, 3])


def _interval(estimate: dict[str, float], sign: str = "") -> str:
    return "{value:{s}.4f} [{low:{s}.4f}, {high:{s}.4f}]".format(**estimate, s=sign)


def _shown(setting: Setting) -> str:
    return ", ".join(f"{name} {value}" for name, value in setting.items()) or "defaults"
