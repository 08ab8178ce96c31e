"""Compares our lists with those of implicit and LensKit, on the same split and for the same users.

Every model is trained on the positives of train; ours also gets ratings and side features. Items a user has
in train are never recommended, and the warm users are judged by the metrics of every report. The budget is
a number of settings, the same for every model: `--budget` of them are fitted on train and compared by
NDCG@k over the warm users of validation. The model's own defaults come first, the rest are drawn from its
space (`SPACE` here, `PEERS` in peers.py; a smaller space is tried whole). The best one is then fitted for
every seed and meets the test slice once. The baselines of every report choose from grids of their own, none
larger than five.

The script is no part of CI: it takes from minutes to hours. The libraries go into an environment of their
own, since LensKit needs an older pandas than scripts/constraints.txt pins. Run it from the root of the
checkout:

    python3 -m venv .venv-benchmark
    .venv-benchmark/bin/pip install -e '.[benchmark]'
    .venv-benchmark/bin/python scripts/benchmark_quality.py
    .venv-benchmark/bin/python scripts/benchmark_quality.py --ratings ratings.dat.gz --json >quality.json
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # implicit advises this: BLAS threads would slow down its own
os.environ["TORCHDYNAMO_DISABLE"] = "1"  # compiling takes LensKit longer than training does here

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from benchmark_input import read, say, seeds_of
from peers import PEERS, Peer, Setting, Space, set_lenskit_threads, settings_to_try
from quality_tables import Paired, Row, Trial, installed_versions, mean_ndcg, text

from retrieval.arrays import Scorer
from retrieval.data.datasets import Dataset
from retrieval.data.encoded import ids_of
from retrieval.data.split import Split, split_interactions
from retrieval.errors import RetrievalError
from retrieval.evaluation.baselines import BaselineSet
from retrieval.evaluation.evaluated import EvaluationData
from retrieval.evaluation.judgements import Judgements, StageScores, rank_by_scores, score_lists
from retrieval.evaluation.validation import ValidationLists
from retrieval.machine import usable_cores
from retrieval.pipeline.build import build
from retrieval.pipeline.prepare import usable
from retrieval.pipeline.trainer import Trainer
from retrieval.progress import Silent
from retrieval.settings import BuildSettings, SplitSettings
from retrieval.training.device import borrowed_torch, choose_device
from retrieval.training.fit_towers import TowerJob, fit_towers

SPACE: Space = {
    "dimension": (32, 64, 128),
    "l2": (3e-3, 1e-2, 3e-2),
    "learning_rate": (3e-3, 6e-3, 1e-2),
    "negatives": (32, 128, 512),
    "user_dropout": (0.1, 0.3, 0.5),
    "recency_half_life_days": (10.0, 30.0, 100.0),
}


@dataclass(frozen=True)
class Arena:
    """The data that every model is trained on and judged by; `budget` and `seeds` as in the options."""

    dataset: Dataset
    settings: BuildSettings
    split: Split
    data: EvaluationData
    validation: Judgements
    test: Judgements
    k: int
    budget: int
    seeds: tuple[int, ...]

    @classmethod
    def of(cls, dataset: Dataset, settings: BuildSettings, k: int, budget: int, seeds: list[int]) -> "Arena":
        """Split and encode the table as `build` does."""
        threshold = settings.positive_threshold
        table, _ = usable(dataset.interactions, threshold)
        split = split_interactions(table, settings.split, seed=settings.seed)
        data = EvaluationData.of(dataset.name, split, *ids_of(split.train), threshold)
        validation, test = (
            Judgements.of(part, data.train, threshold) for part in (data.validation, data.test)
        )
        return cls(dataset, settings, split, data, validation, test, k, budget, tuple(seeds))

    def score(self, scorer: Scorer, judgements: Judgements) -> StageScores:
        """The scores of a scorer's lists, without what each user has in train."""
        exclude = self.data.train.item_lists().take(judgements.users)
        lists = rank_by_scores(scorer, judgements.users, exclude, self.k, self.data.train.n_items)
        return score_lists(lists, judgements, self.k)


def search(arena: Arena, name: str, space: Space, fit: Callable[[Setting], Scorer]) -> tuple[Trial, ...]:
    """Fit and validate as many settings as the budget allows."""
    tried = []
    for setting in settings_to_try(space, arena.budget):
        start = time.perf_counter()
        ndcg = mean_ndcg([arena.score(fit(setting), arena.validation)])
        tried.append(Trial(setting, ndcg, time.perf_counter() - start))
        say(f"{name}: validation {ndcg:.4f}, {tried[-1].seconds:.1f} s, {setting or 'defaults'}")
    return tuple(tried)


def best(tried: Sequence[Trial]) -> Setting:
    """Choose the setting with the best NDCG on validation."""
    return max(tried, key=lambda trial: trial.ndcg).setting


def peer_row(arena: Arena, peer: Peer) -> Row:
    """Search another library's model, then fit what was chosen for every seed."""
    positives = arena.data.train.positives(arena.data.positive_threshold)
    threads = arena.settings.resolved_threads

    def fit(setting: Setting, seed: int = arena.seeds[0]) -> Scorer:
        return peer.scorer(positives, setting, seed, threads)

    tried = search(arena, peer.name, peer.space, fit)
    scores, seconds = [], []
    for seed in arena.seeds if peer.by_chance else arena.seeds[:1]:
        start = time.perf_counter()
        scorer = fit(best(tried), seed)
        seconds.append(time.perf_counter() - start)
        scores.append((arena.score(scorer, arena.validation), arena.score(scorer, arena.test)))
    return Row(peer.name, best(tried), tried, *zip(*scores, strict=True), float(np.mean(seconds)))


def baseline_rows(arena: Arena) -> list[Row]:
    """Measure the baselines of every report; their time is that of all of them together."""
    start, train = time.perf_counter(), arena.data.train
    chosen = BaselineSet.choose(train, arena.validation, arena.data.positive_threshold, arena.k)
    seconds = time.perf_counter() - start
    validation, test = (
        chosen.lists(part.users, arena.k, train.item_lists().take(part.users))
        for part in (arena.validation, arena.test)
    )

    def row(name: str) -> Row:
        word = name.split("_")[0]  # that its settings begin with
        return Row(
            name,
            {key: value for key, value in chosen.settings.items() if key.startswith(f"{word}_")},
            (),
            (score_lists(validation[name], arena.validation, arena.k),),
            (score_lists(test[name], arena.test, arena.k),),
            seconds,
        )

    return [row(name) for name in test]


def search_towers(arena: Arena) -> tuple[Trial, ...]:
    """Search our towers as the other models are searched; they also stop early on validation, as always."""
    data, split, settings = arena.data, arena.split, arena.settings
    users, items = ids_of(split.train)
    trainer = Trainer(settings, arena.dataset.items, arena.dataset.users, choose_device("cpu"), Silent())
    threshold = data.positive_threshold
    lists = ValidationLists.of(data.train, data.validation, split.validation, users, items, threshold)

    def fit(setting: Setting) -> Scorer:
        job = TowerJob(
            data.train.positives(threshold),
            replace(settings.towers, **setting),
            seed=arena.seeds[0],
            device=trainer.device,
            catalogue=np.unique(data.train.items),
            features=trainer.tower_features(users, items),
            validate=lists.ndcg,
        )
        vectors = fit_towers(job).vectors
        return lambda rows: vectors.users[rows] @ vectors.items.T

    with borrowed_torch(settings.resolved_threads):
        return search(arena, "ours", SPACE, fit)


def our_rows(arena: Arena, name: str, setting: Setting, tried: tuple[Trial, ...] = ()) -> list[Row]:
    """Two rows, before and after re-ranking, of `build-index --no-refit`, whose time it is."""
    towers, dataset = replace(arena.settings.towers, **setting), arena.dataset
    scores: dict[str, list[list[StageScores]]] = {}
    start = time.perf_counter()
    for seed in arena.seeds:
        settings = replace(arena.settings, towers=towers, seed=seed)
        built = build(dataset.interactions, items=dataset.items, users=dataset.users, settings=settings)
        model = built.evaluated.model
        for stage in ("exact", "exact+rerank")[: 1 if model.rating_model is None else 2]:
            both = [
                score_lists(model.for_users(each.users, arena.k, "exact", "+" in stage).rows, each, arena.k)
                for each in (arena.validation, arena.test)
            ]
            scores.setdefault(stage, []).append(both)
        say(f"{name}: seed {seed} done after {time.perf_counter() - start:.0f} s")
    seconds = (time.perf_counter() - start) / len(arena.seeds)
    return [
        Row(f"{name}, {stage}", setting, tried, *zip(*each, strict=True), seconds)
        for stage, each in scores.items()
    ]


def compare(arena: Arena) -> tuple[list[Row], list[Row]]:
    """Our rows first, then those of the baselines and of the other libraries."""
    others = baseline_rows(arena)
    for peer in PEERS:
        if peer.installed:
            others.append(peer_row(arena, peer))
        else:
            say(f"{peer.name} is left out, as {peer.package} is not installed: pip install -e '.[benchmark]'")
    tried = search_towers(arena)
    ours = our_rows(arena, "ours", {}) + our_rows(arena, "ours softmax", {"loss": "softmax"})
    if best(tried):
        ours += our_rows(arena, "ours searched", best(tried), tried)
    else:
        say("ours searched: the defaults are best, so there are no rows of it")
    return ours, others


def document(arena: Arena, ours: list[Row], others: list[Row]) -> dict[str, Any]:
    """Everything in one document of plain JSON types."""
    return {
        "dataset": arena.dataset.name,
        "split": asdict(arena.split.counts) | asdict(arena.settings.split),
        "positive_threshold": arena.settings.positive_threshold,
        "k": arena.k,
        "judged_users": int((arena.test.n_relevant > 0).sum()),
        "budget": {"settings": arena.budget, "chosen_by": f"ndcg@{arena.k} of warm validation users"},
        "seeds": arena.seeds,
        "threads": arena.settings.resolved_threads,
        "versions": installed_versions(),
        "left_out": [peer.name for peer in PEERS if not peer.installed],
        "models": {row.name: row.to_json(arena.k, arena.seeds) for row in (*ours, *others)},
        "comparisons": [asdict(Paired.of(row, against)) for row in ours for against in others],
    }


@click.command(context_settings={"show_default": True})
@click.option("--dataset", default="ml-100k", help="A named data set.")
@click.option(
    "--ratings",
    type=click.Path(path_type=Path, exists=True),
    help="Your own table instead of a named data set.",
)
@click.option(
    "--data", type=click.Path(path_type=Path), default=Path("data"), help="Folder of downloaded data sets."
)
@click.option("--test-fraction", default=SplitSettings.test_fraction)
@click.option("--validation-fraction", default=SplitSettings.validation_fraction)
@click.option("--positive-threshold", default=BuildSettings.positive_threshold)
@click.option("--k", type=click.IntRange(1), default=10, help="Length of the lists.")
@click.option("--budget", type=click.IntRange(1), default=20, help="Settings each model may try.")
@click.option("--seeds", default="42,1,2", help="Seeds: each chosen setting is fitted once for each.")
@click.option(
    "--threads", type=click.IntRange(1), default=usable_cores(), help="Threads, the same for all models."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def main(ratings: Path | None, dataset: str, data: Path, as_json: bool, **options: Any) -> None:
    """Compare with implicit and LensKit on ml-100k, or on another set."""
    try:
        settings = BuildSettings(
            split=SplitSettings(options["test_fraction"], options["validation_fraction"]),
            positive_threshold=options["positive_threshold"],
            threads=options["threads"],
            device="cpu",
            refit=False,
        )
        seeds = seeds_of(options["seeds"])
        if any(peer.package == "lenskit" and peer.installed for peer in PEERS):
            set_lenskit_threads(options["threads"])
        arena = Arena.of(read(ratings, dataset, data), settings, options["k"], options["budget"], seeds)
        found = document(arena, *compare(arena))
    except RetrievalError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    click.echo(json.dumps(found) if as_json else text(found))


if __name__ == "__main__":
    main()
