"""The difference of two bundles: settings, users and items, served lists, quality."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.bundles.bundle import Bundle
from retrieval.bundles.fitted_system_files import read_system
from retrieval.bundles.manifest import DataIdentity
from retrieval.data.ids import IdMap
from retrieval.errors import UsageError
from retrieval.evaluation.diff.lists import ListOverlap, compare_lists, shared_rows
from retrieval.evaluation.diff.quality import QualityDiff, ScoredSystem, compare_quality, score_system
from retrieval.evaluation.from_bundle import read_evaluation_data
from retrieval.evaluation.report import finite
from retrieval.serving.fitted_system import FittedSystem

IDS_SHOWN = 3
# Parts of the manifest on the libraries and the machine of the build.
ENVIRONMENT = ("libraries", "made_on")


@dataclass(frozen=True)
class Identity:
    """The identity of a bundle.

    Attributes:
        name: name of its folder.
        created: when it was published, ISO 8601 in UTC.
        build_id: digest of its manifest.
        data: name, digest and rows of the interactions.
        changes: of the catalogue since the build, first to last, as the manifest has them.
    """

    name: str
    created: str
    build_id: str
    data: DataIdentity
    changes: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Difference:
    """One value that differs, as in the JSON documents; None also where a bundle lacks it.

    Attributes:
        name: dotted: ``towers.dimension``.
    """

    name: str
    one: Any
    other: Any


@dataclass(frozen=True)
class SharedIds:
    """The users or the items that two bundles serve, matched by id.

    Attributes:
        both, only_one, only_other: how many.
        examples_one, examples_other: a few ids that only that bundle knows, as text.
        other_titles: how many of the shared ids have different titles in the two bundles: probably ids that
            mean different things.
    """

    both: int
    only_one: int
    only_other: int
    examples_one: tuple[str, ...]
    examples_other: tuple[str, ...]
    other_titles: int = 0

    @classmethod
    def of(
        cls, one: IdMap, other: IdMap, titles: tuple[NDArray[np.str_], NDArray[np.str_]] | None = None
    ) -> "SharedIds":
        """Match two sets of ids; `titles` has a title for each row of either."""
        of_one, of_other = shared_rows(one, other)
        only_one, only_other = np.delete(one.ids, of_one), np.delete(other.ids, of_other)
        renamed = 0
        if titles is not None:
            mine, theirs = titles[0][of_one], titles[1][of_other]
            renamed = int(((mine != theirs) & (mine != "") & (theirs != "")).sum())
        return cls(
            both=len(of_one),
            only_one=len(only_one),
            only_other=len(only_other),
            examples_one=tuple(map(str, only_one[:IDS_SHOWN].tolist())),
            examples_other=tuple(map(str, only_other[:IDS_SHOWN].tolist())),
            other_titles=renamed,
        )


@dataclass(frozen=True)
class BundleDiff:
    """Everything in which two bundles differ. A difference of figures is `other` minus `one`.

    Attributes:
        one, other: the two bundles.
        settings: differing settings of the builds, threads among them.
        environment: differing libraries and machines.
        data: differences in the interactions and their split.
        serving: differences in the served index and blend.
        users, items: the users and items that they serve.
        overlap: overlap of the served lists.
        quality: quality of the evaluated lists; later changes of the catalogue are not in it.
    """

    one: Identity
    other: Identity
    settings: tuple[Difference, ...]
    environment: tuple[Difference, ...]
    data: tuple[Difference, ...]
    serving: tuple[Difference, ...]
    users: SharedIds
    items: SharedIds
    overlap: ListOverlap
    quality: QualityDiff

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types; a figure that does not exist is null."""
        document = {
            name: _json_types(asdict(getattr(self, name))) for name in ("one", "other", "users", "items")
        }
        for name in ("settings", "environment", "data", "serving"):
            document[name] = {
                each.name: {"one": each.one, "other": each.other} for each in getattr(self, name)
            }
        return finite(document | {"overlap": self.overlap.to_json(), "quality": self.quality.to_json()})


def diff_bundles(one: Bundle, other: Bundle, *, k: int = 10, users: int = 1000, seed: int = 0) -> BundleDiff:
    """Read two bundles and compare them; nothing is trained again.

    Args:
        k: length of the lists.
        users: number of users, at most, whose lists are compared.
        seed: of their choice.

    Raises:
        UsageError: if k or users is less than 1.
        ArtifactError: if a file of a bundle is damaged.
    """
    for name, value in (("k", k), ("users", users)):
        if value < 1:
            raise UsageError(f"{name} must be 1 or more, not {value!r}")
    manifests = one.manifest.document, other.manifest.document
    mine, theirs = read_system(one, "served"), read_system(other, "served")
    return BundleDiff(
        one=_identity(one),
        other=_identity(other),
        settings=differences(*(manifest["settings"] for manifest in manifests)),
        environment=differences(*(_chosen(manifest, ENVIRONMENT) for manifest in manifests)),
        data=differences(*(_chosen(manifest, ("data", "split")) for manifest in manifests)),
        serving=differences(_serving(mine), _serving(theirs)),
        users=SharedIds.of(mine.users, theirs.users),
        items=SharedIds.of(mine.items, theirs.items, (mine.titles, theirs.titles)),
        overlap=compare_lists(mine, theirs, k=k, users=users, seed=seed),
        quality=compare_quality(_scored(one, k), _scored(other, k), k),
    )


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Differing values of two nested documents, in the order of `one`, then those that only `other` has.

    >>> differences({"seed": 1, "towers": {"dimension": 64}}, {"seed": 1, "towers": {"dimension": 32}})
    (Difference(name='towers.dimension', one=64, other=32),)
    """
    return tuple(_differences(one, other, ""))


def _differences(one: Mapping[str, Any], other: Mapping[str, Any], within: str) -> Iterator[Difference]:
    for name in dict.fromkeys([*one, *other]):
        mine, theirs = one.get(name), other.get(name)
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            yield from _differences(mine, theirs, f"{within}{name}.")
        elif mine != theirs:
            yield Difference(f"{within}{name}", mine, theirs)


def _chosen(manifest: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: manifest.get(name, {}) for name in names}


def _identity(bundle: Bundle) -> Identity:
    manifest = bundle.manifest
    return Identity(
        name=bundle.folder.name,
        created=manifest.created,
        build_id=manifest.build_id,
        data=manifest.data,
        changes=tuple(dict(change.document) for change in manifest.changes),
    )


def _serving(system: FittedSystem) -> dict[str, Any]:
    """The settings that decide the served lists besides the models' weights."""
    model = system.model
    return {
        "index": model.ann.factory,
        **model.ann.settings.to_json(),
        "tombstones": model.ann.tombstones,
        "serves": model.serves,
        "candidates": model.n_candidates,
        "neural_mf": model.rating_model is not None,
        **model.weights.to_json(),
    }


def _scored(bundle: Bundle, k: int) -> ScoredSystem:
    system = read_system(bundle, "evaluated")
    return score_system(system, read_evaluation_data(bundle, system), k)


def _json_types(value: Any) -> Any:
    """The same with lists in place of tuples."""
    if isinstance(value, dict):
        return {key: _json_types(entry) for key, entry in value.items()}
    return [_json_types(entry) for entry in value] if isinstance(value, (list, tuple)) else value
