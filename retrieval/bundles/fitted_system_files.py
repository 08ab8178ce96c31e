"""A fitted system as a part of a bundle, "served" or "evaluated": to its files, and back."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import NDArray

from index import AnnIndex, ItemLists, SearchSettings
from retrieval.arrays import Matrix, Weights
from retrieval.bundles.bundle import Bundle
from retrieval.bundles.memory import check_memory
from retrieval.bundles.writer import BundleWriter
from retrieval.data.ids import IdMap
from retrieval.errors import DamagedBundle
from retrieval.serving.feature_vectors import FeatureVectors
from retrieval.serving.fitted_model import recent_demand
from retrieval.serving.fitted_system import FittedSystem
from retrieval.serving.item_attributes import ItemAttributes
from retrieval.serving.rating_model import RatingModel
from retrieval.serving.rerank import BlendWeights
from retrieval.serving.tower_vectors import HISTORY_TABLE, PRIOR, TowerVectors
from retrieval.serving.two_stage import SearchKind, TwoStageModel

MADE_WITH = "made_with"  # in model.json: the digests of the part's other files
# Only where there are such: how the names of the features' files begin, and the rows of a changed index.
FEATURES, INDEX_ROWS, NEURAL_MF = "features", "index_rows", "neural_mf.safetensors"
# What Python and NumPy say of values of other types, shapes or sizes than were written.
UNFIT = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
ADVICE_OF_INDEX = re.compile(r"[;,] build the index again.*")  # for those who have an index alone
Read = TypeVar("Read")


@dataclass(frozen=True)
class PartSettings:
    """What a part's model.json says; see `TwoStageModel` for what the numbers do.

    Raises:
        ValueError: if a value is of another type, or a number that could not have been written.
    """

    takes_histories: bool
    has_neural_mf: bool
    weights: BlendWeights
    candidates: int
    serves: SearchKind
    factory: str
    search: SearchSettings
    made_with: dict[str, str]

    def __post_init__(self) -> None:
        for name in ("takes_histories", "has_neural_mf"):
            _check(name, getattr(self, name), isinstance(getattr(self, name), bool), "true or false")
        is_count = isinstance(self.candidates, int) and not isinstance(self.candidates, bool)
        _check("candidates", self.candidates, is_count and self.candidates >= 1, "an integer of at least 1")
        _check("serves", self.serves, self.serves in ("exact", "ann"), '"exact" or "ann"')
        _check("factory", self.factory, isinstance(self.factory, str), "a text")
        made = self.made_with
        is_map = isinstance(made, dict) and all(isinstance(value, str) for value in made.values())
        _check("made_with", made, is_map and len(made) > 0, "the digests of files by their names")

    @classmethod
    def from_json(cls, document: Any) -> "PartSettings":
        """What `parts.write_system` wrote.

        Raises:
            ValueError, KeyError, TypeError: if it is something else.
        """
        index = document["index"]
        return cls(
            takes_histories=document["takes_histories"],
            has_neural_mf=document["has_neural_mf"],
            weights=_weights(document),
            candidates=document["candidates"],
            serves=document["serves"],
            factory=index["factory"],
            search=SearchSettings(**index["settings"]),
            made_with=document["made_with"],
        )


def write_system(writer: BundleWriter, part: str, system: FittedSystem) -> None:
    """Write one fitted system into the folder `part` of a bundle."""
    model = system.model
    writer.write_tensors(f"{part}/towers.safetensors", system.tower_weights)
    if system.neural_mf_weights is not None:
        writer.write_tensors(f"{part}/{NEURAL_MF}", system.neural_mf_weights)
    index = model.ann
    writer.write(f"{part}/index.faiss", index.to_bytes().tobytes())
    arrays: dict[str, NDArray[Any]] = {
        "item_vectors": model.vectors.items,
        "user_vectors": model.vectors.users,
        "seen_starts": model.seen.indptr,
        "seen_items": model.seen.items,
        "user_ids": system.users.ids,
        "item_ids": system.items.ids,
        "item_titles": system.titles,
        "popularity": system.popularity,
    }
    columns, lists = system.attributes.to_arrays()
    arrays |= {f"attribute_{name}": array for name, array in lists.items()}
    row_map, features = index.row_map, model.vectors.features
    if row_map is not None:
        arrays[INDEX_ROWS] = row_map.rows
    if features is not None:
        writer.write_json(f"{part}/{FEATURES}_names.json", features.names)
        arrays |= {f"{FEATURES}_vectors": features.items, f"{FEATURES}_histories": features.histories}
    for name, array in arrays.items():
        writer.write_array(f"{part}/{name}.npy", array)
    settings = {
        "takes_histories": model.vectors.history_items is not None,
        "has_neural_mf": system.neural_mf_weights is not None,
        **model.weights.to_json(),
        "candidates": model.n_candidates,
        "serves": model.serves,
        "index": {"factory": index.factory, "settings": index.settings.to_json()},
    }
    writer.write_json(f"{part}/attributes.json", columns)
    files = {name: digest for name, digest in writer.digests.items() if name.startswith(f"{part}/")}
    writer.write_json(f"{part}/model.json", settings | {MADE_WITH: files})


def read_system(bundle: Bundle, part: str, memory: int | None = None) -> FittedSystem:
    """Read the fitted system in the folder `part` ("served" or "evaluated") of a bundle.

    Args:
        memory: bytes it may take at most.

    Raises:
        ArtifactError: if a file is missing or changed, or the parts do not fit together.
        EnvironmentProblem: if it takes more memory than `memory`, or than the process may have.
    """
    check_memory(bundle, part, memory)
    return fitting_together(bundle, part, lambda: _Part.of(bundle, part).system())


@dataclass(frozen=True)
class _Part:
    """Reads one part; only files that its model.json says it was made with."""

    bundle: Bundle
    name: str
    settings: PartSettings

    @classmethod
    def of(cls, bundle: Bundle, name: str) -> "_Part":
        """Refuses files of another build, or too few or many, though the manifest was made to list them."""
        settings = PartSettings.from_json(bundle.json(f"{name}/model.json"))
        listed = {file: entry.sha256 for file, entry in bundle.manifest.files.items()}
        for file, digest in settings.made_with.items():
            if listed.get(file) != digest:
                raise DamagedBundle(f"{bundle.folder / file}: of another build than {name}/model.json")
        if settings.has_neural_mf != (f"{name}/{NEURAL_MF}" in listed):
            raise DamagedBundle(f"{bundle.folder / name / NEURAL_MF}: {name}/model.json says otherwise of it")
        return cls(bundle, name, settings)

    def own(self, file: str) -> str:
        """The name of one of its files in the bundle."""
        if f"{self.name}/{file}" not in self.settings.made_with:
            where = self.bundle.folder / self.name / file
            raise DamagedBundle(f"{where}: {self.name}/model.json does not list it")
        return f"{self.name}/{file}"

    def has(self, file: str) -> bool:
        """Whether there is a file that not every part has."""
        return f"{self.name}/{file}" in self.bundle.manifest.files

    def array(self, name: str) -> Any:
        """An array by its name."""
        return self.bundle.array(self.own(f"{name}.npy"))

    def system(self) -> FittedSystem:
        """All of it."""
        settings = self.settings
        towers = self.bundle.tensors(self.own("towers.safetensors"))
        neural_mf = self.bundle.tensors(self.own(NEURAL_MF)) if settings.has_neural_mf else None
        vectors = self.vectors(towers)
        popularity = self.array("popularity")
        model = TwoStageModel(
            vectors=vectors,
            ann=self.index(vectors.items),
            rating_model=None if neural_mf is None else RatingModel.from_weights(neural_mf),
            seen=ItemLists(self.array("seen_starts"), self.array("seen_items")),
            n_candidates=settings.candidates,
            trend=recent_demand(popularity),
            weights=settings.weights,
            serves=settings.serves,
        )
        return FittedSystem(
            model=model,
            users=IdMap(self.array("user_ids")),
            items=IdMap(self.array("item_ids")),
            titles=self.array("item_titles"),
            popularity=popularity,
            tower_weights=towers,
            neural_mf_weights=neural_mf,
            attributes=ItemAttributes.from_arrays(
                self.bundle.json(self.own("attributes.json")),
                {name: self.array(f"attribute_{name}") for name in ("values", "starts", "rows")},
            ),
        )

    def vectors(self, towers: Weights) -> TowerVectors:
        """The exported towers."""
        takes_histories = self.settings.takes_histories
        if takes_histories != (HISTORY_TABLE in towers):
            raise ValueError("the towers' weights and model.json disagree on whether there are histories")
        return TowerVectors(
            items=self.bundle.finite_array(self.own("item_vectors.npy")),
            users=self.bundle.finite_array(self.own("user_vectors.npy")),
            history_items=towers[HISTORY_TABLE] if takes_histories else None,
            prior=towers[PRIOR] if takes_histories else None,
            features=self.features(),
            finite=("items", "users"),
        )

    def features(self) -> FeatureVectors | None:
        """What categories are as vectors; None where there are none."""
        if not self.has(f"{FEATURES}_names.json"):
            return None
        names = tuple(self.bundle.json(self.own(f"{FEATURES}_names.json")))
        vectors, histories = (self.array(f"{FEATURES}_{name}") for name in ("vectors", "histories"))
        return FeatureVectors(names, vectors, histories)

    def index(self, items: Matrix) -> AnnIndex:
        """The index over the item vectors."""
        name, rows = self.own("index.faiss"), None
        if self.has(f"{INDEX_ROWS}.npy"):
            rows = self.array(INDEX_ROWS)
        try:
            return AnnIndex.from_bytes(
                self.bundle.mapped(name),
                factory=self.settings.factory,
                settings=self.settings.search,
                size=len(items),
                dimension=items.shape[1],
                rows=rows,
            )
        except (ValueError, TypeError) as error:
            what = ADVICE_OF_INDEX.sub("", str(error))
            raise DamagedBundle(f"{self.bundle.folder / name}: {what}") from error


def fitting_together(bundle: Bundle, part: str, read: Callable[[], Read]) -> Read:
    """What every reader ends in: parts that do not fit are a damaged bundle, not a bug."""
    try:
        return read()
    except KeyError as error:
        raise DamagedBundle(f"{bundle.folder / part}: {error} is missing") from error
    except UNFIT as error:
        raise DamagedBundle(f"{bundle.folder / part}: {error}") from error


def _weights(document: Any) -> BlendWeights:
    try:
        return BlendWeights.from_json(document)
    except ValueError as error:
        raise ValueError(f"model.json says that {error}") from None


def _check(name: str, value: Any, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"model.json says that {name} is {value!r:.60}; expected {expected}")
