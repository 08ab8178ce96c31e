"""Builds and fitted systems to bundle files, and back."""

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from index import AnnIndex, ItemLists, SearchSettings
from retrieval.attributes import ItemAttributes
from retrieval.bundle import Bundle
from retrieval.errors import DamagedBundle
from retrieval.feature_vectors import FeatureVectors
from retrieval.fitted import FittedSystem
from retrieval.ids import IdMap
from retrieval.memory import check_memory
from retrieval.publishing import BundleWriter
from retrieval.rating_model import RatingModel
from retrieval.two_stage import SearchKind, TwoStageModel, recent_demand
from retrieval.vectors import HISTORY_TABLE, PRIOR, TowerVectors

if TYPE_CHECKING:
    from index import OperatingPoint
    from retrieval.building import Build
    from retrieval.evaluation import Evaluated, EvaluationData
    from retrieval.gate import GateVerdict

INTERACTIONS, CHOICES, REPORT = "evaluated/interactions.parquet", "evaluated/choices.json", "report.json"
INDEX_CHOICE = "evaluated/index_choice.json"
PAGE, ITEMS = "report.html", "items.parquet"
VALIDATION = "evaluated/validation_ndcg.npy"
TIMES = "evaluated/index_milliseconds.npy"
# They hold times that were measured: builds of the same data, settings and seed differ in these files alone,
# and in these keys of the manifest.
TIMED_FILES = frozenset({INDEX_CHOICE, TIMES, REPORT, PAGE})
MEASURED = frozenset({"created", "operating_points", "files", "build_id"})
MADE_WITH = "made_with"  # in a part's model.json: the digests of the part's other files
# Only where there are such: how the names of the features' files begin, and the rows of a changed index.
FEATURES, INDEX_ROWS = "features", "index_rows"
Read = TypeVar("Read")
# What Python and NumPy say of values of other types, shapes or sizes than were written.
UNFIT = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
LIBRARIES = ("torch", "faiss-cpu", "numpy", "scipy", "polars", "safetensors")


def write_build(
    writer: BundleWriter,
    build: "Build",
    before_publishing: Callable[[], None] = lambda: None,
    gate: "GateVerdict | None" = None,
) -> Path:
    """Write a build into a new bundle and make it current; returns the bundle's own folder.

    Args:
        gate: what may hold it back: then it is kept, and what was current still is.
        before_publishing: called when every file is written and only the one step is left.

    Raises:
        EnvironmentProblem: if the folder cannot be written.
    """
    from retrieval.page.rendering import render_page  # whoever only reads needs no page

    write_system(writer, "evaluated", build.evaluated)
    write_system(writer, "served", build.served)
    writer.write(INTERACTIONS, to_parquet(build.split.labelled()))
    alpha, tuning = build.report.alpha, build.report.tuning
    choices = {
        "alpha": alpha and alpha.to_json(),
        "baselines": build.report.baselines,
        "tuning": tuning and tuning.to_json(),
    }
    writer.write_json(CHOICES, choices)
    writer.write_json(INDEX_CHOICE, build.index.to_json())
    _write_measurements(writer, build.index.points)
    writer.write_array(VALIDATION, build.validation_ndcg)
    writer.write("users.parquet", to_parquet(build.user_table()))
    writer.write(ITEMS, to_parquet(build.item_table()))
    report = build.report.to_json()
    writer.write_json(REPORT, report)
    writer.write(PAGE, render_page(report, _settings(build)).encode())
    before_publishing()
    held = gate is not None and gate.held
    description = _description(build) | {"gate": gate and gate.to_json()}
    return writer.publish(description, current=not held)


def write_system(writer: BundleWriter, part: str, system: FittedSystem) -> None:
    """Write one fitted system into the folder `part` of a bundle."""
    model = system.model
    writer.write_tensors(f"{part}/towers.safetensors", system.tower_weights)
    if system.neural_mf_weights is not None:
        writer.write_tensors(f"{part}/neural_mf.safetensors", system.neural_mf_weights)
    index = model.index
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
        "alpha": model.alpha,
        "trend_weight": model.trend_weight,
        "newcomer_alpha": model.newcomer_alpha,
        "newcomer_trend_weight": model.newcomer_trend_weight,
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

    def read() -> FittedSystem:
        settings = bundle.json(f"{part}/model.json")
        _check_made_together(bundle, part, settings[MADE_WITH])
        array: Callable[[str], Any] = lambda name: bundle.array(f"{part}/{name}.npy")  # noqa: E731
        tower_weights = bundle.tensors(f"{part}/towers.safetensors")
        neural_mf_weights = None
        if settings["has_neural_mf"]:
            neural_mf_weights = bundle.tensors(f"{part}/neural_mf.safetensors")
        vectors = TowerVectors(
            items=array("item_vectors"),
            users=array("user_vectors"),
            history_items=tower_weights[HISTORY_TABLE] if settings["takes_histories"] else None,
            prior=tower_weights[PRIOR] if settings["takes_histories"] else None,
            features=_read_features(bundle, part),
        )
        ann = AnnIndex.from_bytes(
            bundle.mapped(f"{part}/index.faiss"),
            factory=settings["index"]["factory"],
            settings=SearchSettings(**settings["index"]["settings"]),
            size=len(vectors.items),
            dimension=vectors.dimension,
            rows=array(INDEX_ROWS) if f"{part}/{INDEX_ROWS}.npy" in bundle.manifest["files"] else None,
        )
        popularity = array("popularity")
        model = TwoStageModel(
            vectors=vectors,
            ann=ann,
            rating_model=None if neural_mf_weights is None else RatingModel.from_weights(neural_mf_weights),
            seen=ItemLists(array("seen_starts"), array("seen_items")),
            alpha=float(settings["alpha"]),
            n_candidates=int(settings["candidates"]),
            trend=recent_demand(popularity),
            trend_weight=float(settings["trend_weight"]),
            newcomer_alpha=float(settings["newcomer_alpha"]),
            newcomer_trend_weight=float(settings["newcomer_trend_weight"]),
            serves=_search_kind(settings["serves"]),
        )
        users, items = IdMap(array("user_ids")), IdMap(array("item_ids"))
        return FittedSystem(
            model=model,
            users=users,
            items=items,
            titles=array("item_titles"),
            popularity=popularity,
            tower_weights=tower_weights,
            neural_mf_weights=neural_mf_weights,
            attributes=ItemAttributes.from_arrays(
                bundle.json(f"{part}/attributes.json"),
                {name: array(f"attribute_{name}") for name in ("values", "starts", "rows")},
            ),
        )

    return _fitting_together(bundle, part, read)


def _check_made_together(bundle: Bundle, part: str, made_with: dict[str, str]) -> None:
    """Refuse files of another build, also where the manifest was made to list them."""
    listed = bundle.manifest["files"]
    for name, digest in made_with.items():
        if listed.get(name, {}).get("sha256") != digest:
            raise DamagedBundle(f"{bundle.folder / name}: of another build than {part}/model.json")


def _read_features(bundle: Bundle, part: str) -> FeatureVectors | None:
    if f"{part}/{FEATURES}_names.json" not in bundle.manifest["files"]:
        return None
    names = tuple(bundle.json(f"{part}/{FEATURES}_names.json"))
    vectors, histories = (bundle.array(f"{part}/{FEATURES}_{name}.npy") for name in ("vectors", "histories"))
    return FeatureVectors(names, vectors, histories)


def read_evaluated(bundle: Bundle) -> "Evaluated":
    """The evaluated system with the data it is judged by; nothing is trained again.

    Raises:
        ArtifactError: if a file is missing or changed, or the parts do not fit together.
    """
    from retrieval.alpha import AlphaChoice
    from retrieval.baselines import BaselineSet
    from retrieval.curves import TrainingHistory, training_curves
    from retrieval.evaluation import Evaluated
    from retrieval.index_choice import IndexChoice
    from retrieval.search import SearchResult

    system = read_system(bundle, "evaluated")
    data = read_evaluation_data(bundle, system)

    def read() -> Evaluated:
        choices = bundle.json(CHOICES)
        baselines = BaselineSet.fit(data.train, data.positive_threshold, choices["baselines"])
        alpha = choices["alpha"] and AlphaChoice.from_json(choices["alpha"])
        towers, neural_mf = (bundle.manifest["training"][name] for name in ("towers", "neural_mf"))
        curves = training_curves(
            [TrainingHistory.from_json(each) for each in towers],
            neural_mf and TrainingHistory.from_json(neural_mf),
        )
        tuning = choices["tuning"] and SearchResult.from_json(choices["tuning"])
        index = IndexChoice.from_json(bundle.json(INDEX_CHOICE))
        return Evaluated(system.model, data, baselines, alpha, curves, tuning, index)

    return _fitting_together(bundle, "evaluated", read)


def read_evaluation_data(bundle: Bundle, system: FittedSystem) -> "EvaluationData":
    """The slices that the evaluated system of a bundle was trained on and is judged by, in its rows.

    Raises:
        ArtifactError: if a file is missing or changed, or the parts do not fit together.
    """
    from retrieval.attribution import outside_catalogue
    from retrieval.encoded import EncodedInteractions
    from retrieval.evaluation import EvaluationData
    from retrieval.newcomers import newcomers_of_test
    from retrieval.split import SplitCounts

    def read() -> EvaluationData:
        frame = read_parquet(bundle, INTERACTIONS)
        slices = [frame.filter(frame["slice"] == name) for name in ("train", "validation", "test")]
        train, validation, test = (
            EncodedInteractions.from_frame(part, system.users, system.items) for part in slices
        )
        threshold = float(bundle.manifest["settings"]["positive_threshold"])
        cut = bundle.manifest["split"]
        name, counts = bundle.manifest["data"]["name"], SplitCounts(**cut["counts"])
        outside = outside_catalogue(slices[-1], system.users, system.items, threshold)
        newcomers = newcomers_of_test(slices[2], slices[1], system.users, system.items, threshold)
        return EvaluationData(
            name, train, validation, test, counts, threshold, cut["kind"], outside, newcomers
        )

    return _fitting_together(bundle, "evaluated", read)


def read_test_users(bundle: Bundle, system: FittedSystem) -> NDArray[np.int64]:
    """Rows of the users by whom the evaluated system of a bundle is judged, ascending.

    Raises:
        ArtifactError: if the bundle's table of interactions is missing or changed.
    """
    from retrieval.encoded import EncodedInteractions

    def read() -> NDArray[np.int64]:
        frame = read_parquet(bundle, INTERACTIONS)
        test = frame.filter(frame["slice"] == "test")
        return np.unique(EncodedInteractions.from_frame(test, system.users, system.items).users)

    return _fitting_together(bundle, "evaluated", read)


def _fitting_together(bundle: Bundle, part: str, read: Callable[[], Read]) -> Read:
    """What every reader ends in: parts that do not fit are a damaged bundle, not a bug."""
    try:
        return read()
    except UNFIT as error:
        raise DamagedBundle(f"{bundle.folder / part}: {error}") from error


def _settings(build: "Build") -> dict[str, Any]:
    return asdict(build.settings) | {"threads": build.settings.resolved_threads}


def _description(build: "Build") -> dict[str, Any]:
    """What the manifest says of a build."""
    from importlib.metadata import version

    from retrieval.machine import made_on
    from retrieval.training import choose_device
    from retrieval.validation import CHOICE_K

    settings = build.settings
    return {
        "data": {"name": build.name, "sha256": build.digest, "rows": build.split.rows},
        "split": {
            "kind": build.split.kind,
            "validation_start": build.split.validation_start,
            "test_start": build.split.test_start,
            "counts": asdict(build.split.counts),
        },
        "settings": _settings(build),
        "validation": {
            "metric": f"ndcg@{CHOICE_K}",
            "value": float(build.validation_ndcg.mean()),
            "users": len(build.validation_ndcg),
        },
        "training": {
            "towers": [member.to_json() for member in build.towers],
            "neural_mf": build.neural_mf and build.neural_mf.to_json(),
        },
        "tuning": build.report.tuning and build.report.tuning.to_json(),
        "operating_points": {
            "evaluated": [point.to_json() for point in build.index.points],
            "served": [point.to_json() for point in build.served_operating_points],
        },
        "libraries": {name: version(name) for name in LIBRARIES},
        "made_on": made_on(choose_device(settings.device), settings.resolved_threads),
    }


def _search_kind(value: Any) -> SearchKind:
    if value not in ("exact", "ann"):
        raise ValueError(f"it says that {value!r} serves")
    return cast(SearchKind, value)


def _write_measurements(writer: BundleWriter, points: "Sequence[OperatingPoint]") -> None:
    """What every query found and every search took, a line for each operating point of the choice."""
    recalls = np.array([point.recalls for point in points], dtype=np.float32)
    times = np.array([point.milliseconds for point in points], dtype=np.float32)
    writer.write_array("evaluated/index_recalls.npy", recalls)
    writer.write_array(TIMES, times)


def read_parquet(bundle: Bundle, name: str) -> Any:
    """A .parquet file of a bundle, as a polars frame; ValueError where it is none."""
    import polars as pl

    from retrieval.reading.panics import DAMAGED, without_panic_messages

    data = bundle.read(name)
    try:
        with without_panic_messages():
            return pl.read_parquet(io.BytesIO(data))
    except DAMAGED as error:
        raise ValueError(f"{name} is not a Parquet file ({error})") from error


def to_parquet(frame: Any) -> bytes:
    """The bytes of a .parquet file of a polars frame."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()
