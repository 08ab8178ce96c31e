import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from retrieval.training.losses import one_against_all, pairwise


def normal(*shape: int, seed: int = 0, std: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * std


def test_a_pair_by_hand() -> None:
    # Differences of 0 and ln 3 are won with probabilities 1/2 and 3/4; of -ln 3 with 1/4.
    positive = torch.tensor([1.0, 0.0])
    negative = torch.tensor([[1.0, 1 - math.log(3)], [math.log(3), math.log(3)]])
    assert pairwise(positive, negative).tolist() == pytest.approx(
        [(math.log(2) + math.log(4 / 3)) / 2, math.log(4)]
    )


def test_a_pair_is_the_logistic_loss_and_bears_wide_differences() -> None:
    positive, negative = normal(5, std=3), normal(5, 7, seed=1, std=3)
    expected = -functional.logsigmoid(positive[:, None] - negative).mean(dim=1)
    assert pairwise(positive, negative).tolist() == pytest.approx(expected.tolist())
    wide = pairwise(torch.tensor([1e4, -1e4]), torch.tensor([[-1e4], [1e4]]))
    assert wide.tolist() == [0, 2e4]


def test_what_is_no_negative_costs_and_teaches_nothing() -> None:
    positive = torch.tensor([0.5], requires_grad=True)
    negative = torch.tensor([[-math.inf, -math.inf]])
    loss = pairwise(positive, negative)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert loss.tolist() == [0] and positive.grad is not None and positive.grad.tolist() == [0]


@pytest.mark.parametrize("masked", [False, True])
def test_the_softmax_is_cross_entropy_over_the_positive_and_its_negatives(masked: bool) -> None:
    """Several positives share a user's negatives; the other positives of the user are none of them."""
    positive, negatives = normal(6, std=2), normal(3, 9, seed=1, std=2)
    user_of = torch.tensor([0, 2, 2, 1, 0, 2])
    if masked:
        negatives[0, ::2] = negatives[2, 3] = -math.inf
    leaves = [each.clone().requires_grad_() for each in (positive, negatives)]
    mine = one_against_all(leaves[0], leaves[1], user_of, 1)
    twins = [each.clone().requires_grad_() for each in (positive, negatives)]
    logits = torch.cat([twins[0][:, None], twins[1][user_of]], dim=1)
    theirs = functional.cross_entropy(logits, torch.zeros(6, dtype=torch.int64), reduction="none")
    assert mine.tolist() == pytest.approx(theirs.tolist())
    for loss in (mine, theirs):
        loss.sum().backward()  # type: ignore[no-untyped-call]
    for leaf, twin in zip(leaves, twins, strict=True):
        assert leaf.grad is not None and twin.grad is not None
        assert leaf.grad.numpy() == pytest.approx(twin.grad.numpy(), abs=1e-12)


def test_a_negative_that_stands_for_several_counts_as_often() -> None:
    positive, negatives = normal(2), normal(1, 4, seed=1)
    repeated = one_against_all(positive, negatives.repeat(1, 3), torch.tensor([0, 0]), 1)
    assert one_against_all(positive, negatives, torch.tensor([0, 0]), 3).tolist() == pytest.approx(
        repeated.tolist()
    )


def test_a_user_without_negatives_costs_and_teaches_nothing() -> None:
    positive = torch.tensor([0.5, 0.5], requires_grad=True)
    negatives = torch.tensor([[-math.inf, -math.inf], [0.5, -math.inf]], requires_grad=True)
    loss = one_against_all(positive, negatives, torch.tensor([0, 1]), 5)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert loss.tolist() == pytest.approx([0, math.log(6)])
    assert positive.grad is not None and positive.grad.tolist() == pytest.approx([0, 1 / 6 - 1])
    # What is masked by -inf gets no gradient through `masked_fill`, whatever comes out here.
    assert negatives.grad is not None and float(negatives.grad[1, 0]) == pytest.approx(5 / 6)


def test_wide_scores_do_not_overflow() -> None:
    losses = one_against_all(
        torch.tensor([1e4, -1e4]), torch.tensor([[-1e4, 0.0], [1e4, 0.0]]), torch.tensor([0, 1]), 40
    )
    assert losses.tolist() == pytest.approx([0, 2e4 + math.log(40)])


# A sample of the catalogue and the sign of its correction


N_NEGATIVES, SAMPLE, DRAWS = 400, 40, 3000
EACH = N_NEGATIVES / SAMPLE


def expected_loss_and_gradient(items_each: float, sample: int) -> tuple[float, Tensor]:
    """Of a positive against uniform samples of its negatives: mean and gradient over many draws."""
    positive = torch.tensor([4.5], dtype=torch.float64, requires_grad=True)
    negatives = normal(N_NEGATIVES, seed=3).requires_grad_()
    generator = torch.Generator().manual_seed(4)
    rows = torch.stack([torch.randperm(N_NEGATIVES, generator=generator)[:sample] for _ in range(DRAWS)])
    losses = one_against_all(positive.expand(DRAWS), negatives[rows], torch.arange(DRAWS), items_each)
    losses.mean().backward()  # type: ignore[no-untyped-call]
    assert positive.grad is not None and negatives.grad is not None
    return float(losses.detach().mean()), torch.cat([positive.grad, negatives.grad])


def test_the_correction_of_a_sample_brings_it_near_to_the_full_softmax_and_its_reverse_does_not() -> None:
    full, gradient = expected_loss_and_gradient(1, N_NEGATIVES)
    found = {each: expected_loss_and_gradient(each, SAMPLE) for each in (EACH, 1, 1 / EACH)}
    losses = {each: abs(loss - full) for each, (loss, _) in found.items()}
    assert losses[EACH] < 0.03
    assert losses[EACH] < 0.1 * losses[1] < 0.1 * losses[1 / EACH]
    gradients = {each: float((mine - gradient).norm() / gradient.norm()) for each, (_, mine) in found.items()}
    assert gradients[EACH] < 0.03
    assert gradients[EACH] < 0.1 * gradients[1] < 0.1 * gradients[1 / EACH]
    corrected = found[EACH][1]
    assert float(functional.cosine_similarity(corrected, gradient, dim=0)) > 0.999
    # The pull on the positive is the sum of the pushes on the negatives: both as strong as they should be.
    assert float(corrected[0]) == pytest.approx(float(gradient[0]), rel=0.02)
    assert float(corrected[0]) == pytest.approx(-float(corrected[1:].sum()))
