"""Measures the lists of several builds that differ by their seed alone: the tables of docs/results.md.

Every build is `build-index --no-refit --threads 1 --seed N`. A stage's figure is its mean over the seeds with
Student's 95 % interval of that mean; a difference is paired by user, where each user's NDCG is their mean
over the seeds, with its bootstrap interval over users. Run it from the checkout:

    .venv/bin/python scripts/benchmark_seeds.py
    .venv/bin/python scripts/benchmark_seeds.py --ratings ratings.dat.gz --seeds 42,1,2
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from benchmark_input import read, say, seeds_of
from scipy import stats

from retrieval.errors import RetrievalError
from retrieval.evaluation.comparisons import compare
from retrieval.evaluation.judgements import Judgements, score_lists
from retrieval.evaluation.stages import BASELINES
from retrieval.pipeline.build import Build, build
from retrieval.reporting.text.tables import format_table
from retrieval.settings import BuildSettings, SplitSettings

K = 10
STAGES = ("exact", "ann", "exact+rerank", "ann+rerank")
PAIRS = (("exact", "ease"), ("ann+rerank", "exact"), *(("ann+rerank", base) for base in BASELINES))


def warm_ndcg(built: Build) -> dict[str, np.ndarray]:
    """NDCG@10 of each warm test user with a relevant item: stage -> shape (q,)."""
    data, baselines, model = built.evaluation.data, built.evaluation.baselines, built.evaluated.model
    judged = Judgements.of(data.test, data.train, data.positive_threshold)
    lists = baselines.lists(judged.users, K, data.train.item_lists().take(judged.users))
    for stage in STAGES[: None if model.rating_model is not None else 2]:
        search = "exact" if stage.startswith("exact") else "ann"
        lists[stage] = model.for_users(judged.users, K, search, stage.endswith("+rerank")).rows
    return {stage: score_lists(rows, judged, K).ndcg for stage, rows in lists.items()}


def over_seeds(values: Sequence[float]) -> list[str]:
    """The mean, Student's 95 % interval of it, and the values."""
    mean, each = np.mean(values), " ".join(f"{value:.4f}" for value in values)
    if np.ptp(values) == 0:
        return [f"{mean:.3f}", "", ""]
    low, high = stats.t.interval(0.95, len(values) - 1, mean, stats.sem(values))
    return [f"{mean:.3f}", f"{low:.3f}-{high:.3f}", each]


def tables(builds: list[Build]) -> str:
    """The warm users' stages and differences, the groups of cold users, the ratings' errors."""
    reports = [built.report for built in builds]
    users = [warm_ndcg(built) for built in builds]
    stages = {stage: np.array([each[stage] for each in users]) for stage in users[0]}
    warm = [[stage, *over_seeds(values.mean(1).tolist())] for stage, values in stages.items()]
    pairs = [
        [
            f"{each.stage} minus {each.against}",
            "{:+.4f}, {:+.4f} to {:+.4f}".format(*vars(each.difference).values()),
        ]
        for each in compare({stage: values.mean(0) for stage, values in stages.items()}, PAIRS)
    ]
    groups = []
    for place, group in enumerate(reports[0].groups):
        same = [report.groups[place] for report in reports]
        means = {stage: np.mean([each.ndcg[stage].value for each in same]) for stage in group.ndcg}
        served = np.mean([each.ndcg[each.served].value for each in same if each.served])
        shown = [f"{means[stage]:.3f}" if stage in means else "-" for stage in BASELINES]
        groups.append([group.name, str(group.users), *shown, f"{served:.3f}"])
    errors = [report.rating for report in reports]
    found = [
        format_table(["NDCG@10", "mean", "interval", "by seed"], warm),
        format_table(["paired by user", "difference"], pairs),
        format_table(["group", "users", *BASELINES, "served"], groups),
    ]
    if all(each is not None for each in errors):
        rmse = [
            [
                f"{np.mean([getattr(each, name).value for each in errors]):.3f}"
                for name in ("rmse", "bias_rmse")
            ]
        ]
        found.append(format_table(["RMSE of NeuralMF", "of biases"], rmse))
    return "\n\n".join(found)


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
@click.option("--seeds", default="42,1,2,3,4", help="One build for each.")
def main(ratings: Path | None, dataset: str, data: Path, test_fraction: float, seeds: str) -> None:
    """Measure builds that differ by their seed, on ml-100k or on another set."""
    try:
        table, builds = read(ratings, dataset, data), []
        for seed in seeds_of(seeds):
            settings: dict[str, Any] = {"split": SplitSettings(test_fraction), "seed": seed, "threads": 1}
            builds.append(
                build(
                    table.interactions,
                    items=table.items,
                    users=table.users,
                    settings=BuildSettings(refit=False, **settings),
                )
            )
            say(f"seed {seed} is done")
    except RetrievalError as error:
        sys.exit(f"error: {error}")
    click.echo(tables(builds))


if __name__ == "__main__":
    main()
