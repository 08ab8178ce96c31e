"""The gate before publishing: holds back a build that is worse on validation than the current bundle."""

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
    """A new build compared with the current bundle, by NDCG@10 of their served lists on validation.

    Attributes:
        against: name of the current bundle; None where there was none to compare with.
        max_regression: how much lower the new build's NDCG@10 may be.
        new, current: mean NDCG@10 of each, over its own warm validation users.
        low, high: 95 % interval of the difference, paired by user; None where the two were built from
            different data or split differently, so that their users are not the same.
        users: number of users that `new` is the mean over.
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
        """Whether the build is kept without being published."""
        return self.current is not None and self.current - self.new > self.max_regression

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types, for the manifest."""
        return asdict(self) | {"metric": "ndcg@10", "held": self.held}

    def text(self) -> str:
        """The comparison, in words."""
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


def compare_with_current(build: "Build", artifacts: Path, max_regression: float) -> GateVerdict:
    """Decide whether a build may replace the current bundle of a folder.

    A first build may. So may one where the current bundle is damaged or of another format, because such a
    bundle cannot be served anyway.

    Args:
        max_regression: how much lower NDCG@10 on validation may be, 0 or more.
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
    """Whether both have the same validation slice, and with it the same users."""
    manifest, split = bundle.manifest, build.settings.split
    return bool(
        manifest.data.sha256 == build.digest
        and manifest.settings.document["split"] == asdict(split)
        and manifest.settings.positive_threshold == build.settings.positive_threshold
        and (split.kind == "time" or manifest.settings.seed == build.settings.seed)
    )
