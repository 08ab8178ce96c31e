import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from retrieval.serving.rating_model import WEIGHTS, RatingModel
from retrieval.settings import NeuralMFSettings
from retrieval.training.neural_mf import CENTRE, NeuralMF, RatingScale

N_USERS, N_ITEMS, DIMENSION, HIDDEN = 6, 9, 5, (8, 3)
SETTINGS = NeuralMFSettings(dimension=DIMENSION, hidden=HIDDEN, dropout=0.4)
Weights = dict[str, NDArray[np.float32]]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def model() -> NeuralMF:
    """Weights as after training: nothing near zero."""
    torch.manual_seed(1)
    made = NeuralMF(N_USERS, N_ITEMS, SETTINGS)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return made.eval()


def weights_of(model: NeuralMF) -> Weights:
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def all_pairs() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    users, items = np.divmod(np.arange(N_USERS * N_ITEMS), N_ITEMS)
    return users, items


def torch_ratings(model: NeuralMF) -> NDArray[np.float32]:
    users, items = all_pairs()
    with torch.no_grad():
        predicted = model(torch.from_numpy(users), torch.from_numpy(items))
    return predicted.numpy().reshape(N_USERS, N_ITEMS)  # type: ignore[no-any-return]


def test_numpy_predicts_what_torch_predicts_for_all_pairs(model: NeuralMF) -> None:
    expected = torch_ratings(model)
    assert expected.std() > 0.1
    twin = RatingModel.from_weights(weights_of(model))
    predicted = twin.predict(np.arange(N_USERS), np.tile(np.arange(N_ITEMS), (N_USERS, 1)))
    assert predicted.dtype == np.float32
    assert predicted == pytest.approx(expected, abs=1e-5)
    pairs = twin.predict_pairs(*all_pairs())
    assert pairs.dtype == np.float32
    assert pairs == pytest.approx(expected.ravel(), abs=1e-5)


def test_predictions_follow_the_rows_asked_for(model: NeuralMF) -> None:
    expected = torch_ratings(model)
    twin = RatingModel.from_weights(weights_of(model))
    users, items = np.array([5, 0, 5]), np.array([[8, 0], [3, 3], [1, 8]])
    assert twin.predict(users, items) == pytest.approx(expected[users[:, None], items], abs=1e-5)
    assert np.isfinite(twin.predict(users, np.full((3, 2), -1))).all()


def test_pairs_are_predicted_alike_across_blocks(model: NeuralMF) -> None:
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, N_USERS, 140_000), rng.integers(0, N_ITEMS, 140_000)
    predicted = RatingModel.from_weights(weights_of(model)).predict_pairs(users, items)
    assert predicted == pytest.approx(torch_ratings(model)[users, items], abs=1e-5)
    nothing = np.empty(0, dtype=np.int64)
    assert RatingModel.from_weights(weights_of(model)).predict_pairs(nothing, nothing).shape == (0,)


def test_the_forward_pass_by_hand() -> None:
    """User (1, -1), item (2, 0): relu (1 + 2, -1) = (3, 0), then relu (2 * 3 - 1) = 5, then 5 / 2 + 3."""
    weights = {
        "users.weight": [[1, -1], [9, 9]],
        "items.weight": [[2, 0]],
        "first.weight": [[1, 0, 1, 0], [0, 1, 0, 1]],
        "first.bias": [0, 0],
        "second.weight": [[2, 7]],
        "second.bias": [-1],
        "output.weight": [[0.5]],
        "output.bias": [3],
    }
    arrays = {name: np.array(value, dtype=np.float32) for name, value in weights.items()}
    assert RatingModel.from_weights(arrays).predict(np.array([0]), np.array([[0]])).tolist() == [[5.5]]
    model = NeuralMF(1, 1, NeuralMFSettings(dimension=2, hidden=(2, 1))).eval()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    assert model(torch.tensor([0]), torch.tensor([0])).tolist() == [5.5]


def test_the_state_dict_is_what_the_numpy_twin_reads(model: NeuralMF) -> None:
    assert set(model.state_dict()) == set(WEIGHTS)


def test_training_starts_near_the_mean_rating() -> None:
    torch.manual_seed(0)
    fresh = NeuralMF(N_USERS, N_ITEMS, SETTINGS).eval()
    weights = RatingScale(zero=55.0 - 10.0 * CENTRE, std=10.0).fold_into(weights_of(fresh))
    predicted = RatingModel.from_weights(weights).predict_pairs(*all_pairs())
    assert np.abs(predicted - 55.0).max() < 6


@pytest.mark.parametrize("std", [0.01, 0.5])
def test_embeddings_start_as_spread_as_asked(std: float) -> None:
    torch.manual_seed(0)
    fresh = NeuralMF(300, 400, NeuralMFSettings(initial_std=std))
    for table in (fresh.users, fresh.items):
        assert float(table.weight.detach().std()) == pytest.approx(std, rel=0.05)


def test_a_scale_is_mean_and_standard_deviation() -> None:
    scale = RatingScale.of(np.array([0, 100, 0, 100], dtype=np.float32))
    assert scale == RatingScale(50.0 - 50.0 * CENTRE, 50.0)
    scale = RatingScale.of(np.array([1, 2, 4, 5], dtype=np.float32))
    given = scale.standardised(np.array([3, 5], dtype=np.float32))
    assert given.tolist() == pytest.approx([CENTRE, CENTRE + 2 / 2.5**0.5])
    assert RatingScale().standardised(np.array([3.3], dtype=np.float32)) == np.float32(3.3)


@pytest.mark.parametrize("rating", [3.3, 0.1, 0.0, -1e30])
def test_equal_ratings_have_no_spread_to_divide_by(rating: float) -> None:
    ratings = np.full(7, rating, dtype=np.float32)
    scale = RatingScale.of(ratings)
    assert scale.std == 1.0
    assert scale.standardised(ratings) == pytest.approx(np.full(7, CENTRE), abs=1e-6 + abs(rating) * 1e-6)


def test_a_folded_network_puts_out_ratings(model: NeuralMF) -> None:
    scale, weights = RatingScale(zero=62.0, std=21.0), weights_of(model)
    kept = {name: array.copy() for name, array in weights.items()}
    folded = RatingModel.from_weights(scale.fold_into(weights))
    expected = 62.0 + 21.0 * torch_ratings(model).ravel()
    assert folded.predict_pairs(*all_pairs()) == pytest.approx(expected, rel=1e-5)
    assert all(np.array_equal(weights[name], kept[name]) for name in kept)


def test_dropout_acts_in_training_only(model: NeuralMF) -> None:
    assert np.array_equal(torch_ratings(model), torch_ratings(model))
    model.train()
    assert not np.array_equal(torch_ratings(model), torch_ratings(model))


def test_dropout_follows_each_hidden_layer(model: NeuralMF) -> None:
    widths: list[int] = []
    model.dropout.register_forward_hook(lambda module, given, made: widths.append(made.shape[1]))
    torch_ratings(model)
    assert widths == list(HIDDEN)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_missing_weight_is_named(model: NeuralMF, name: str) -> None:
    weights = weights_of(model)
    del weights[name]
    with pytest.raises(ValueError, match=f"lack {name}"):
        RatingModel.from_weights(weights)


# Any number of users and items is fine.
BAD_SHAPES = [
    (name, change)
    for name in WEIGHTS
    for change in ("longer", "wider", "flat", "one")
    if change in ("wider", "flat") or name not in ("users.weight", "items.weight")
]


@pytest.mark.parametrize(("name", "change"), BAD_SHAPES)
def test_a_weight_of_the_wrong_shape_is_refused(model: NeuralMF, name: str, change: str) -> None:
    """Broadcasting would take some of these, such as a bias of one number."""
    weights = weights_of(model)
    array = weights[name]
    changed = {
        "longer": np.concatenate([array, array[:1]]),
        "wider": np.concatenate([array, array[..., :1]], axis=-1),
        "flat": array.ravel() if array.ndim > 1 else array[:, None],
        "one": array[:1] if len(array) > 1 else array[None],
    }[change]
    with pytest.raises(ValueError, match="shape"):
        RatingModel.from_weights(weights | {name: changed})


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_must_be_numbers(model: NeuralMF, name: str) -> None:
    weights = weights_of(model)
    weights[name].flat[0] = np.nan
    with pytest.raises(ValueError, match="finite float32"):
        RatingModel.from_weights(weights)


@pytest.mark.parametrize(
    "name", ["users", "items", "hidden_weight", "hidden_bias", "output_weight", "output_bias"]
)
def test_arrays_of_the_wrong_dtype_or_shape_are_refused(model: NeuralMF, name: str) -> None:
    arrays = vars(RatingModel.from_weights(weights_of(model)))
    RatingModel(**arrays)
    with pytest.raises(ValueError, match=f"{name} must be finite float32"):
        RatingModel(**(arrays | {name: arrays[name].astype(np.float64)}))
    with pytest.raises(ValueError, match="shape"):
        RatingModel(**(arrays | {name: arrays[name][..., None]}))
