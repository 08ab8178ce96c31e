"""The gate before publishing: a build that is worse on validation than what answers is held back."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.bundles.bundle import Bundle, open_bundle
from retrieval.bundles.layout import VALIDATION
from retrieval.errors import ArtifactError
from retrieval.evaluation.uncertainty import mean_estimate

if TYPE_CHECKING:
    from retrieval.pipeline.build import Build


@dataclass(frozen=True)
class GateVerdict:
    """A new build beside the one that answers, by NDCG@10 of the served lists on validation.

    Attributes:
        against: name of the current bundle; None where there was none to compare with.
        max_regression: by how much the new one may be worse.
        new, current: mean NDCG@10 of either, over its own warm validation users.
        low, high: 95 % interval of the difference, paired by user; None where the two were built from other
            data or split otherwise, so that their users are not the same.
        users: how many users the new one's mean is over.
        note: why there was nothing to compare with.
    """

    against: str | None
    max_regression: float
    new: float
    users: int
    current: float | None = None
    low: float | None = None
    high: float | None = None
    note: str | None = None

    @property
    def held(self) -> bool:
        """Whether the build is to be kept without being published."""
        return self.current is not None and self.current - self.new > self.max_regression

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types, for the manifest."""
        return asdict(self) | {"metric": "ndcg@10", "held": self.held}

    def text(self) -> str:
        """What was compared, in words."""
        if self.current is None:
            return self.note or "there is nothing to compare with"
        if self.low is not None:
            certainty = f"95% interval {self.low:+.4f} to {self.high:+.4f}, paired over {self.users:,} users"
        else:
            certainty = "of other validation users, as data or split are not the same"
        return (
            f"validation NDCG@10 is {self.new:.4f}, {self.new - self.current:+.4f} beside {self.current:.4f} "
            f"of {self.against} ({certainty})"
        )


def judge(build: "Build", artifacts: Path, max_regression: float) -> GateVerdict:
    """Whether a build may take the place of the current bundle of a folder.

    A first build may, and so may one where the current bundle is damaged or of another format: what cannot
    answer is not worth keeping.

    Args:
        max_regression: how much less NDCG@10 on validation is allowed, 0 or more.
    """
    new = build.validation_ndcg
    plain = GateVerdict(None, max_regression, float(new.mean()), len(new))
    try:
        bundle = open_bundle(artifacts)
        old: NDArray[np.float64] = bundle.array(VALIDATION)
        current = float(old.mean())
    except ArtifactError as error:
        return GateVerdict(None, max_regression, plain.new, plain.users, note=str(error))
    low = high = None
    if _same_users(build, bundle) and old.shape == new.shape:
        difference = mean_estimate(new - old)
        low, high = difference.low, difference.high
    return GateVerdict(bundle.folder.name, max_regression, plain.new, plain.users, current, low, high)


def _same_users(build: "Build", bundle: Bundle) -> bool:
    """Whether both were judged on the same validation slice."""
    manifest, split = bundle.manifest, build.settings.split
    return bool(
        manifest.data.sha256 == build.digest
        and manifest.settings.document["split"] == asdict(split)
        and manifest.settings.positive_threshold == build.settings.positive_threshold
        and (split.kind == "time" or manifest.settings.seed == build.settings.seed)
    )
