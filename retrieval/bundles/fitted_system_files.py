"""The files of a fitted system, in a bundle's folder "served" or "evaluated": writes and reads them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index import AnnIndex, ItemLists, SearchSettings
from retrieval.arrays import Matrix, Weights
from retrieval.bundles import layout
from retrieval.bundles.bundle import Bundle, refusing
from retrieval.bundles.memory import check_memory
from retrieval.data.ids import IdMap
from retrieval.errors import DamagedBundle
from retrieval.json_document import JsonObject
from retrieval.serving.feature_vectors import FeatureVectors
from retrieval.serving.fitted_model import recent_demand
from retrieval.serving.fitted_system import FittedSystem
from retrieval.serving.item_attributes import ItemAttributes
from retrieval.serving.rating_model import UNBOUNDED, Bounds, RatingModel
from retrieval.serving.rerank import BlendWeights
from retrieval.serving.tower_vectors import HISTORY_TABLE, PRIOR, TowerVectors
from retrieval.serving.two_stage import SearchKind, TwoStageModel

if TYPE_CHECKING:
    from retrieval.bundles.writer import BundleWriter

MADE_WITH = "made_with"  # in model.json: the digests of the system's other files
KINDS: tuple[SearchKind, ...] = ("exact", "ann")
# Element types of the arrays; ids and texts have fixed-width unicode of any width.
FLOATS, OFFSETS, ROWS, IDS, TEXTS = ("<f4",), ("<i8",), ("<i4", "<i8"), ("<i8", "<U"), ("<U",)


# A named tuple for the reason of those in manifest.py.
class SystemSettings(NamedTuple):
    """The content of a system's model.json; see `TwoStageModel` for the numbers.

    Attributes:
        takes_histories: whether the towers have a vector for a history.
        has_neural_mf: whether there are NeuralMF's weights.
        rating_bounds: the smallest and the largest rating it was trained on; None in bundles of earlier
            programs, and without NeuralMF.
        factory, search: of the index.
        made_with: SHA-256 of the system's other files, by their names in the bundle.
    """

    takes_histories: bool
    has_neural_mf: bool
    rating_bounds: Bounds | None
    weights: BlendWeights
    candidates: int
    serves: SearchKind
    factory: str
    search: SearchSettings
    made_with: Mapping[str, str]

    @classmethod
    def from_json(cls, document: Any) -> "SystemSettings":
        """Read what `write_system` wrote.

        Raises:
            ValueError: if a field is missing, of another type, or a number that could not have been written.
        """
        model = JsonObject(document)
        index, made_with = model.object("index"), model.object(MADE_WITH)
        weights = {field.name: model.number(field.name, least=0) for field in fields(BlendWeights)}
        return cls(
            takes_histories=model.truth("takes_histories"),
            has_neural_mf=model.truth("has_neural_mf"),
            rating_bounds=_bounds(model.optional("rating_bounds", JsonObject.object)),
            weights=BlendWeights.from_json(weights),
            candidates=model.integer("candidates", least=1),
            serves=model.choice("serves", KINDS),
            factory=index.text("factory"),
            search=search_settings(index.object("settings")),
            made_with={name: made_with.text(name) for name in made_with.document},
        )


def search_settings(part: JsonObject) -> SearchSettings:
    """Read what `SearchSettings.to_json` gave; whether a number fits the index is for the index to say.

    Raises:
        ValueError: if a setting is of another type, or unknown.
    """
    part.check_names({field.name for field in fields(SearchSettings)})
    return SearchSettings(
        nprobe=part.optional("nprobe", JsonObject.integer),
        ef_search=part.optional("ef_search", JsonObject.integer),
        k_factor=part.optional("k_factor", JsonObject.number),
    )


def _bounds(part: JsonObject | None) -> Bounds | None:
    return None if part is None else (part.number("lowest"), part.number("highest"))


def write_system(writer: "BundleWriter", part: str, system: FittedSystem) -> None:
    """Write one fitted system into the folder `part` of a bundle."""
    model, index = system.model, system.model.ann
    features = model.vectors.features
    writer.write_tensors(f"{part}/{layout.TOWERS}", system.tower_weights)
    if system.neural_mf_weights is not None:
        writer.write_tensors(f"{part}/{layout.NEURAL_MF}", system.neural_mf_weights)
    writer.write(f"{part}/{layout.INDEX}", index.to_bytes().tobytes())
    if features is not None:
        writer.write_json(f"{part}/{layout.FEATURE_NAMES}", features.names)
    columns, lists = system.attributes.to_arrays()
    for name, array in _arrays(system, lists).items():
        writer.write_array(f"{part}/{name}", array)
    writer.write_json(f"{part}/{layout.ATTRIBUTES}", columns)
    settings = {
        "takes_histories": model.vectors.history_items is not None,
        "has_neural_mf": system.neural_mf_weights is not None,
        **_rating_bounds(model.rating_model),
        **model.weights.to_json(),
        "candidates": model.n_candidates,
        "serves": model.serves,
        "index": {"factory": index.factory, "settings": index.settings.to_json()},
    }
    files = {name: digest for name, digest in writer.digests.items() if name.startswith(f"{part}/")}
    writer.write_json(f"{part}/{layout.MODEL}", settings | {MADE_WITH: files})


def _rating_bounds(rating_model: RatingModel | None) -> dict[str, Any]:
    """What model.json says of the bounds: nothing where they are not known."""
    if rating_model is None or rating_model.bounds == UNBOUNDED:
        return {}
    lowest, highest = rating_model.bounds
    return {"rating_bounds": {"lowest": lowest, "highest": highest}}


def _arrays(system: FittedSystem, attributes: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays of a system by the names of their files."""
    model = system.model
    arrays: dict[str, NDArray[Any]] = {
        layout.ITEM_VECTORS: model.vectors.items,
        layout.USER_VECTORS: model.vectors.users,
        layout.SEEN_STARTS: model.seen.indptr,
        layout.SEEN_ITEMS: model.seen.items,
        layout.USER_IDS: system.users.ids,
        layout.ITEM_IDS: system.items.ids,
        layout.ITEM_TITLES: system.titles,
        layout.POPULARITY: system.popularity,
        layout.ATTRIBUTE_VALUES: attributes["values"],
        layout.ATTRIBUTE_STARTS: attributes["starts"],
        layout.ATTRIBUTE_ROWS: attributes["rows"],
    }
    row_map, features = model.ann.row_map, model.vectors.features
    if row_map is not None:
        arrays[layout.INDEX_ROWS] = row_map.rows
    if features is not None:
        arrays |= {layout.FEATURE_VECTORS: features.items, layout.FEATURE_HISTORIES: features.histories}
    return arrays


def read_system(bundle: Bundle, part: str, memory: int | None = None) -> FittedSystem:
    """Read the fitted system in the folder `part` ("served" or "evaluated") of a bundle.

    Args:
        memory: bytes it may take at most.

    Raises:
        ArtifactError: if a file is missing or changed, or the parts do not fit together.
        EnvironmentProblem: if it takes more memory than `memory`, or than the process may have.
    """
    check_memory(bundle, part, memory)
    return _SystemReader.of(bundle, part).system()


@dataclass(frozen=True)
class _SystemReader:
    """Reads one system, from files only that its model.json lists.

    Every file is checked for the type of its content where it is read. The classes that are put together
    here check the rest, and raise ValueError for parts that do not fit.
    """

    bundle: Bundle
    part: str
    settings: SystemSettings

    @classmethod
    def of(cls, bundle: Bundle, part: str) -> "_SystemReader":
        """Refuse files of another build, too few or too many, though the manifest was made to list them."""
        path = bundle.folder / part
        document = bundle.json(f"{part}/{layout.MODEL}")
        with refusing(path / layout.MODEL):
            settings = SystemSettings.from_json(document)
        files = bundle.manifest.files
        for file, digest in settings.made_with.items():
            if file not in files or files[file].sha256 != digest:
                raise DamagedBundle(f"{bundle.folder / file}: of another build than {part}/{layout.MODEL}")
        if settings.has_neural_mf != (f"{part}/{layout.NEURAL_MF}" in files):
            raise DamagedBundle(f"{path / layout.NEURAL_MF}: {part}/{layout.MODEL} says otherwise of it")
        return cls(bundle, part, settings)

    def own(self, file: str) -> str:
        """The name in the bundle of one of the system's files."""
        name = f"{self.part}/{file}"
        if name not in self.settings.made_with:
            raise DamagedBundle(f"{self.bundle.folder / name}: {self.part}/{layout.MODEL} does not list it")
        return name

    def has(self, file: str) -> bool:
        """Whether there is a file that only some systems have."""
        return f"{self.part}/{file}" in self.bundle.manifest.files

    def array(self, file: str, types: tuple[str, ...], axes: Literal[1, 2] = 1) -> Any:
        """An array; refused where it has another type or number of axes."""
        name = self.own(file)
        array = self.bundle.finite_array(name) if types == FLOATS else self.bundle.array(name)
        kind = array.dtype.str
        if array.ndim != axes or ("<U" if kind.startswith("<U") else kind) not in types:
            raise DamagedBundle(
                f"{self.bundle.folder / name}: {array.dtype} of shape {array.shape}; expected "
                f"{' or '.join(types)} with {'one axis' if axes == 1 else 'two axes'}"
            )
        return array

    def tensors(self, file: str) -> Weights:
        """Trained weights; refused where one is no float32 array with an axis."""
        name = self.own(file)
        weights = self.bundle.tensors(name)
        for key, tensor in weights.items():
            if tensor.dtype != np.float32 or not tensor.ndim:
                raise DamagedBundle(
                    f"{self.bundle.folder / name}: {key!r:.60} is {tensor.dtype} of shape {tensor.shape}; "
                    "expected float32 with at least one axis"
                )
        return weights

    def system(self) -> FittedSystem:
        """The whole system."""
        settings = self.settings
        towers = self.tensors(layout.TOWERS)
        neural_mf = self.tensors(layout.NEURAL_MF) if settings.has_neural_mf else None
        popularity = self.array(layout.POPULARITY, FLOATS)
        attributes = self.attributes()
        with refusing(self.bundle.folder / self.part):
            vectors = self.vectors(towers)
            model = TwoStageModel(
                vectors=vectors,
                ann=self.index(vectors.items),
                rating_model=None
                if neural_mf is None
                else RatingModel.from_weights(neural_mf, settings.rating_bounds or UNBOUNDED),
                seen=ItemLists(self.array(layout.SEEN_STARTS, OFFSETS), self.array(layout.SEEN_ITEMS, ROWS)),
                n_candidates=settings.candidates,
                trend=recent_demand(popularity),
                weights=settings.weights,
                serves=settings.serves,
            )
            return FittedSystem(
                model=model,
                users=IdMap(self.array(layout.USER_IDS, IDS)),
                items=IdMap(self.array(layout.ITEM_IDS, IDS)),
                titles=self.array(layout.ITEM_TITLES, TEXTS),
                popularity=popularity,
                tower_weights=towers,
                neural_mf_weights=neural_mf,
                attributes=attributes,
            )

    def attributes(self) -> ItemAttributes:
        """The category columns of the items."""
        name = self.own(layout.ATTRIBUTES)
        document = self.bundle.json(name)
        arrays = {
            "values": self.array(layout.ATTRIBUTE_VALUES, TEXTS),
            "starts": self.array(layout.ATTRIBUTE_STARTS, OFFSETS),
            "rows": self.array(layout.ATTRIBUTE_ROWS, ROWS),
        }
        with refusing(self.bundle.folder / name):
            return ItemAttributes.from_arrays(document, arrays)

    def vectors(self, towers: Weights) -> TowerVectors:
        """The exported towers."""
        takes_histories = self.settings.takes_histories
        for table in (HISTORY_TABLE, PRIOR):
            if takes_histories != (table in towers):
                raise ValueError("the towers' weights and model.json disagree on whether there are histories")
        return TowerVectors(
            items=self.array(layout.ITEM_VECTORS, FLOATS, axes=2),
            users=self.array(layout.USER_VECTORS, FLOATS, axes=2),
            history_items=towers[HISTORY_TABLE] if takes_histories else None,
            prior=towers[PRIOR] if takes_histories else None,
            features=self.features(),
            finite=("items", "users"),
        )

    def features(self) -> FeatureVectors | None:
        """The vectors of the items' categories; None where the items have none."""
        if not self.has(layout.FEATURE_NAMES):
            return None
        names = self.bundle.json(self.own(layout.FEATURE_NAMES))
        if not isinstance(names, list):
            raise ValueError(f"{layout.FEATURE_NAMES} is no list")
        vectors, histories = (
            self.array(file, FLOATS, axes=2) for file in (layout.FEATURE_VECTORS, layout.FEATURE_HISTORIES)
        )
        return FeatureVectors(tuple(names), vectors, histories)

    def index(self, items: Matrix) -> AnnIndex:
        """The index over the item vectors."""
        name, rows = self.own(layout.INDEX), None
        if self.has(layout.INDEX_ROWS):
            rows = self.array(layout.INDEX_ROWS, OFFSETS)
        with refusing(self.bundle.folder / name):
            return AnnIndex.from_bytes(
                self.bundle.mapped(name),
                factory=self.settings.factory,
                settings=self.settings.search,
                size=len(items),
                dimension=items.shape[1],
                rows=rows,
            )
