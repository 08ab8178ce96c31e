"""The index of a fitted system: chosen by measurement on its users, or built as it was told."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from index import (
    EXACT,
    AnnIndex,
    ExactIndex,
    Goal,
    ItemIndex,
    ItemLists,
    NothingMeetsError,
    OperatingPoint,
    Tuned,
    kind_of,
    pays_from,
    search_filtered,
    standard_error,
    tune,
    warning,
)
from retrieval.errors import UsageError
from retrieval.evaluation.choices import IndexChoice
from retrieval.evaluation.judgements import Judgements, score_lists
from retrieval.evaluation.validation import CHOICE_K, ValidationLists
from retrieval.progress import Progress
from retrieval.serving.two_stage import SearchKind, TwoStageModel
from retrieval.settings import BuildSettings

QUERIES = 512  # users that an index is measured with: half of them choose, half of them prove
_ONE_SIDED = 1.645  # standard errors to the upper end that the loss is above in 5 of 100 draws
_AS_FAST = 1.3  # an index with exact search's answers is served in its place only where it is faster by more
AUTO = "auto"


def choose_index(
    model: TwoStageModel, settings: BuildSettings, lists: ValidationLists, progress: Progress
) -> tuple[TwoStageModel, IndexChoice]:
    """The model with its index: the fastest that meets the settings' goal, or the one they name.

    Args:
        model: whose `ann` is exact search; its users ask.
        lists: of validation, by which a loss of NDCG is told.

    Raises:
        UsageError: if the string cannot work on these vectors, or nothing meets the goal within its limits.
    """
    accept = None
    if settings.max_ndcg_loss is not None:
        accept = _LossLimit(model, lists.warm, lists.seen, settings.max_ndcg_loss)
    goal = Goal(settings.recall_target, settings.memory_limit, settings.index_minutes, accept)
    named = settings.index not in (AUTO, EXACT)
    sample = _sample(len(model.vectors.users), settings.seed)
    tuned = _tuned(model, settings, goal, sample, settings.index if named else None, progress)
    ann, point = tuned.approximate, tuned.chosen_approximate
    # Whether exact search is as fast goes by the clock: what was named is served, so that it repeats.
    as_exact = settings.index == EXACT or (not named and _as_exact(tuned))
    serves: SearchKind = "exact" if as_exact else "ann"
    if serves == "ann" and isinstance(tuned.index, AnnIndex):
        ann, point = tuned.index, tuned.chosen
    size = None
    if serves == "exact" and settings.index == AUTO:
        size = pays_from(
            model.vectors.items,
            model.vectors.users[sample],
            min(settings.candidates, len(model.vectors.items)),
            settings.recall_target,
            seed=settings.seed,
            threads=settings.resolved_threads,
        )
    choice = IndexChoice(
        serves,
        tuned.chosen,
        point,
        tuned.held_out,
        settings.recall_target,
        settings.memory_limit,
        settings.max_ndcg_loss,
        size,
        tuned.points,
        tuned.seconds,
    )
    if named:
        if caution := warning(tuned.approximate):
            progress.note(f"index: {tuned.approximate.name}: {caution}")
        _say_where_it_stands(tuned, goal, progress)
    return replace(model, ann=ann, serves=serves), choice


def same_index(
    model: TwoStageModel, choice: IndexChoice, settings: BuildSettings, progress: Progress
) -> tuple[TwoStageModel, tuple[OperatingPoint, ...]]:
    """A refitted model with the same kind of index, set anew so that it finds as much on its own vectors.

    Raises:
        UsageError: as `choose_index` does.
    """
    factory = choice.approximate.factory
    target = settings.recall_target
    if target is None:
        target = min(choice.approximate.recall, 1.0)
    sample = _sample(len(model.vectors.users), settings.seed)
    tuned = _tuned(model, settings, Goal(target), sample, factory, progress)
    return replace(model, ann=tuned.approximate, serves=choice.serves), tuned.points


def _tuned(
    model: TwoStageModel,
    settings: BuildSettings,
    goal: Goal,
    sample: NDArray[np.int64],
    factory: str | None,
    progress: Progress,
) -> Tuned:
    try:
        return tune(
            model.vectors.items,
            model.vectors.users[sample],
            min(settings.candidates, len(model.vectors.items)),
            goal,
            exclude=model.seen.take(sample),
            kinds=None if factory is None else [kind_of(factory)],
            seed=settings.seed,
            threads=settings.resolved_threads,
            say=lambda message: progress.note(f"index: {message}"),
        )
    except NothingMeetsError as error:
        limits = "`recall_target`" if goal.accept is None else "`max_ndcg_loss`"
        limits += "" if goal.memory_limit is None else " and `memory_limit`"
        raise UsageError(f"{limits}: {error}", "ask for less or allow more") from error
    except ValueError as error:
        raise UsageError(f"`index`: {error}") from error


@dataclass(frozen=True, eq=False)
class _LossLimit:
    """Whether an index keeps the final lists of validation as good as exact search's, but for so much NDCG.

    Attributes:
        judgements: of validation's warm users.
        seen: what each of them has had in train.
        most: loss of NDCG@10 that is allowed; the upper 95 % end of the mean loss has to be below it.
    """

    model: TwoStageModel
    judgements: Judgements
    seen: ItemLists
    most: float

    def __call__(self, index: ItemIndex) -> bool:
        losses = self._ndcg(self.model.exact) - self._ndcg(index)
        return float(losses.mean()) + _ONE_SIDED * standard_error(losses) <= self.most

    def _ndcg(self, index: ItemIndex) -> NDArray[np.float64]:
        model, users = self.model, self.judgements.users
        depth = max(CHOICE_K, model.n_candidates)
        found = search_filtered(index, model.exact, model.vectors.users[users], depth, self.seen).result
        rows = model.rerank(users, found).rows if model.reranks else found.rows
        return score_lists(rows[:, :CHOICE_K], self.judgements, CHOICE_K).ndcg


def _as_exact(tuned: Tuned) -> bool:
    """Whether exact search, which is there anyway, is as good as what was chosen."""
    if isinstance(tuned.index, ExactIndex):
        return True
    exact = next((point.p50_ms for point in tuned.points if point.factory == EXACT), np.inf)
    return tuned.chosen.is_exact and exact <= _AS_FAST * tuned.chosen.p50_ms


def _sample(n_users: int, seed: int) -> NDArray[np.int64]:
    """Rows of the users whose vectors ask; one alone asks twice."""
    if n_users < 2:
        return np.zeros(2, dtype=np.int64)
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n_users, size=min(QUERIES, n_users), replace=False))


def _say_where_it_stands(tuned: Tuned, goal: Goal, progress: Progress) -> None:
    """A note where an index that was named misses the target."""
    if goal.recall is not None and tuned.held_out.recall < goal.recall:
        progress.note(
            f"index: {tuned.chosen.name} finds {tuned.held_out.recall:.1%}: "
            f"`recall_target={goal.recall:g}` missed"
        )
