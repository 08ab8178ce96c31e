"""The build step that gives a fitted system its index: chosen by measurement on its users, or as named."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index import (
    EXACT,
    AnnIndex,
    ChosenIndex,
    ExactIndex,
    Goal,
    InputError,
    ItemIndex,
    ItemLists,
    NothingMeetsError,
    OperatingPoint,
    choose,
    kind_of,
    pays_from,
    search_filtered,
    set_to_target,
    standard_error,
    warning,
)
from retrieval.errors import UsageError
from retrieval.evaluation.choices import IndexChoice
from retrieval.evaluation.judgements import Judgements, score_lists
from retrieval.evaluation.validation import CHOICE_K, ValidationLists
from retrieval.progress import Progress
from retrieval.serving.fitted_model import FittedModel
from retrieval.serving.two_stage import TwoStageModel
from retrieval.settings import BuildSettings

QUERIES = 512  # users whose vectors are the queries: half of them choose, half of them prove
_ONE_SIDED = 1.645  # standard errors from the mean to the upper end of a one-sided 95 % interval
# An index with exact search's answers is served in its place only if it is faster by more than this factor.
_AS_FAST = 1.3
AUTO = "auto"


def choose_index(
    model: FittedModel, settings: BuildSettings, lists: ValidationLists, progress: Progress
) -> tuple[TwoStageModel, IndexChoice]:
    """Give the model its index: the fastest that meets the settings' goal, or the kind that they name.

    Args:
        model: its users' vectors are the queries.
        lists: of validation, on which a loss of NDCG is measured.

    Raises:
        UsageError: if the string cannot work on these vectors, or nothing meets the goal within its limits.
    """
    accept = None
    if settings.max_ndcg_loss is not None:
        accept = _LossLimit(model, lists.warm, lists.seen, settings.max_ndcg_loss)
    goal = Goal(settings.recall_target, settings.memory_limit, settings.index_minutes, accept)
    if settings.index in (AUTO, EXACT):
        found = _choose(model, settings, goal, progress)
        exact = settings.index == EXACT or _exact_is_as_good(found)
    else:
        found = _set_to_target(model, settings, goal, settings.index)
        exact = False  # a named index is served whatever the clock says, so that the build repeats
        _note_cautions(found, goal, progress)
    ann, point = found.approximate, found.chosen_approximate
    if not exact and isinstance(found.index, AnnIndex):
        ann, point = found.index, found.chosen
    choice = IndexChoice(
        serves="exact" if exact else "ann",
        chosen=found.chosen,
        approximate=point,
        held_out=found.held_out,
        recall_target=settings.recall_target,
        memory_limit=settings.memory_limit,
        max_ndcg_loss=settings.max_ndcg_loss,
        pays_from=_pays_from(model, settings) if exact and settings.index == AUTO else None,
        points=found.points,
        seconds=found.seconds,
    )
    return TwoStageModel.of(model, ann, choice.serves), choice


def same_index(
    model: FittedModel, choice: IndexChoice, settings: BuildSettings
) -> tuple[TwoStageModel, tuple[OperatingPoint, ...]]:
    """Give a refitted model an index of the same kind, set anew to find as much on the model's own vectors.

    Raises:
        UsageError: as `choose_index` does.
    """
    target = settings.recall_target
    if target is None:
        target = min(choice.approximate.recall, 1.0)
    found = _set_to_target(model, settings, Goal(target), choice.approximate.factory)
    return TwoStageModel.of(model, found.approximate, choice.serves), found.points


def _choose(model: FittedModel, settings: BuildSettings, goal: Goal, progress: Progress) -> ChosenIndex:
    sample = _sample(len(model.vectors.users), settings.seed)
    with _refusals_of(goal):
        return choose(
            model.vectors.items,
            model.vectors.users[sample],
            _n_candidates(model, settings),
            goal,
            exclude=model.seen.take(sample),
            seed=settings.seed,
            threads=settings.resolved_threads,
            say=lambda message: progress.detail(f"index: {message}"),
        )


def _set_to_target(model: FittedModel, settings: BuildSettings, goal: Goal, factory: str) -> ChosenIndex:
    sample = _sample(len(model.vectors.users), settings.seed)
    with _refusals_of(goal):
        return set_to_target(
            model.vectors.items,
            model.vectors.users[sample],
            _n_candidates(model, settings),
            goal,
            kind_of(factory),
            exclude=model.seen.take(sample),
            seed=settings.seed,
            threads=settings.resolved_threads,
        )


def _pays_from(model: FittedModel, settings: BuildSettings) -> int | None:
    sample = _sample(len(model.vectors.users), settings.seed)
    return pays_from(
        model.vectors.items,
        model.vectors.users[sample],
        _n_candidates(model, settings),
        settings.recall_target,
        seed=settings.seed,
        threads=settings.resolved_threads,
    )


def _n_candidates(model: FittedModel, settings: BuildSettings) -> int:
    return min(settings.candidates, len(model.vectors.items))


@contextmanager
def _refusals_of(goal: Goal) -> Iterator[None]:
    """Turn what `index` refuses inside the block into a `UsageError` that names the settings to change."""
    try:
        yield
    except NothingMeetsError as error:
        limits = "`recall_target`" if goal.accept is None else "`max_ndcg_loss`"
        limits += "" if goal.memory_limit is None else " and `memory_limit`"
        raise UsageError(f"{limits}: {error}", "ask for less or allow more") from error
    except InputError as error:
        raise UsageError(f"`index`: {error.what}", error.advice) from error


@dataclass(frozen=True, eq=False)
class _LossLimit:
    """Whether an index keeps the final lists of validation as good as exact search does, but for some NDCG.

    Attributes:
        model: makes the lists, re-ranked as they are served.
        judgements: of validation's warm users.
        seen: the items of each of them in train.
        most: allowed loss of NDCG@10; the upper end of the mean loss's one-sided 95 % interval must not be
            above it.
    """

    model: FittedModel
    judgements: Judgements
    seen: ItemLists
    most: float

    def __call__(self, index: ItemIndex) -> bool:
        losses = self._ndcg(self.model.exact) - self._ndcg(index)
        return float(losses.mean()) + _ONE_SIDED * standard_error(losses) <= self.most

    def _ndcg(self, index: ItemIndex) -> NDArray[np.float64]:
        model, users = self.model, self.judgements.users
        queries = model.vectors.users[users]
        found = search_filtered(index, model.exact, queries, model.n_candidates, self.seen).result
        found = model.deepened(found, queries, self.seen, CHOICE_K)
        rows = model.rerank(users, found).rows if model.reranks else found.rows
        return score_lists(rows[:, :CHOICE_K], self.judgements, CHOICE_K).ndcg


def _exact_is_as_good(found: ChosenIndex) -> bool:
    """Whether exact search, which needs no index, serves as well as the chosen index."""
    if isinstance(found.index, ExactIndex):
        return True
    exact = next((point.p50_ms for point in found.points if point.factory == EXACT), np.inf)
    return found.chosen.is_exact and exact <= _AS_FAST * found.chosen.p50_ms


def _sample(n_users: int, seed: int) -> NDArray[np.int64]:
    """Rows of the users whose vectors are the queries; a single user is taken twice."""
    if n_users < 2:
        return np.zeros(2, dtype=np.int64)
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n_users, size=min(QUERIES, n_users), replace=False))


def _note_cautions(found: ChosenIndex, goal: Goal, progress: Progress) -> None:
    """Note what is known to go wrong with a named index, and a target that it misses."""
    if caution := warning(found.approximate):
        progress.note(f"index: {found.approximate.name}: {caution}")
    if goal.recall is not None and found.held_out.recall < goal.recall:
        progress.note(
            f"index: {found.chosen.name} finds {found.held_out.recall:.1%}: "
            f"`recall_target={goal.recall:g}` missed"
        )
