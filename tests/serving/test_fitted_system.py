"""Parts that belong together are checked where they meet; what has no NeuralMF says so."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from index import ItemLists
from retrieval.data.ids import IdMap
from retrieval.evaluation.judgements import Judgements
from retrieval.pipeline.blend_weights import choose_user_weights
from retrieval.pipeline.build import Build
from retrieval.serving.fitted_system import FittedSystem, title_array
from retrieval.serving.rating_model import RatingModel
from retrieval.serving.two_stage import TwoStageModel
from retrieval.settings import NeuralMFSettings
from retrieval.training.fit_neural_mf import fit_neural_mf


@pytest.fixture(scope="module")
def system(tiny_build: Build) -> FittedSystem:
    return tiny_build.evaluated


@pytest.fixture(scope="module")
def unrated(system: FittedSystem) -> TwoStageModel:
    """The model without its NeuralMF; alpha stays, and has nothing to weigh."""
    return replace(system.model, rating_model=None, weights=replace(system.model.weights, alpha=0.5))


@pytest.mark.parametrize(
    ("name", "size"), [("users", "138 users"), ("items", "111 items"), ("titles", "111 titles")]
)
def test_ids_and_titles_must_be_the_models(system: FittedSystem, name: str, size: str) -> None:
    part = getattr(system, name)
    shorter = IdMap(part.ids[:-1]) if isinstance(part, IdMap) else part[:-1]
    with pytest.raises(ValueError, match=rf"139 users and 112 items, but .*{size}.*different builds"):
        replace(system, **{name: shorter})


def test_popularity_must_be_of_the_models_items(system: FittedSystem) -> None:
    with pytest.raises(ValueError, match=r"popularity of 113 items; they are of different builds"):
        replace(system, popularity=np.zeros(113, dtype=np.float32))


def test_weights_of_neural_mf_and_its_model_come_together(
    system: FittedSystem, unrated: TwoStageModel
) -> None:
    with pytest.raises(ValueError, match="there is only one of them"):
        replace(system, neural_mf_weights=None)
    with pytest.raises(ValueError, match="there is only one of them"):
        replace(system, model=unrated)
    without = replace(system, model=unrated, neural_mf_weights=None)
    assert without.model.rating_model is None


def test_a_neural_mf_of_other_users_or_items_is_refused(system: FittedSystem) -> None:
    weights = system.neural_mf_weights
    assert weights is not None
    for name, sizes in (("users", "138 and 112"), ("items", "139 and 111")):
        cut = RatingModel.from_weights({**weights, f"{name}.weight": weights[f"{name}.weight"][:-1]})
        with pytest.raises(ValueError, match=rf"139 users and 112 items, NeuralMF {sizes}"):
            replace(system.model, rating_model=cut)


def test_titles_are_plain_text_the_empty_one_for_none() -> None:
    titles = title_array(["Alien (1979)", None, "千と千尋"])
    assert titles.tolist() == ["Alien (1979)", "", "千と千尋"]
    assert titles.dtype.kind == title_array([]).dtype.kind == "U"


# Without a NeuralMF


def test_without_neural_mf_lists_are_in_retrieval_order_whatever_is_asked(
    system: FittedSystem, unrated: TwoStageModel
) -> None:
    users = np.array([0, 7, 138])
    for search in ("exact", "ann"):
        asked, plain = (unrated.for_users(users, 10, search, rerank) for rerank in (True, False))  # type: ignore[arg-type]
        retrieved = system.model.for_users(users, 10, search, rerank=False)  # type: ignore[arg-type]
        for ranked in (asked, plain):
            np.testing.assert_array_equal(ranked.rows, retrieved.rows)
            np.testing.assert_array_equal(ranked.scores, retrieved.scores)
            assert np.isnan(ranked.predicted_ratings).all()
            assert ranked.retrieval_ranks.tolist() == [list(range(1, 11))] * 3


def test_without_neural_mf_nothing_can_be_re_ranked(unrated: TwoStageModel) -> None:
    users = np.array([0, 1])
    found = unrated.candidates(unrated.vectors.users[users], ItemLists.empty(2), 5, "exact")
    with pytest.raises(ValueError, match="there is no NeuralMF to re-rank by"):
        unrated.rerank(users, found)


def test_without_neural_mf_there_is_no_alpha_to_choose(tiny_build: Build, unrated: TwoStageModel) -> None:
    data = tiny_build.evaluation.data
    with pytest.raises(ValueError, match="there is no NeuralMF to weigh"):
        choose_user_weights(unrated, [Judgements.of(data.validation, data.train, 4.0)], 10)


def test_without_ratings_no_neural_mf_is_trained(tiny_build: Build) -> None:
    data = tiny_build.evaluation.data
    clicks, how = replace(data.train, ratings=None), NeuralMFSettings(dimension=4, max_epochs=1)
    with pytest.raises(ValueError, match="ratings"):
        fit_neural_mf(clicks, how, seed=0, device=torch.device("cpu"), epochs=1)
    with pytest.raises(ValueError, match="ratings"):  # nor validated
        held_out = replace(data.validation, ratings=None)
        fit_neural_mf(data.train, how, seed=0, device=torch.device("cpu"), validation=held_out)
