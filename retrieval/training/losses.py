"""Ranking losses of positives against negatives: one number for each positive."""

import math

import torch
from torch import Tensor
from torch.nn import functional


def pairwise(positive: Tensor, negative: Tensor) -> Tensor:
    """-ln sigmoid(positive - negative), the mean over negatives (BPR: Rendle et al., UAI 2009).

    Args:
        positive: (P,) scores.
        negative: (P, N) scores.

    Returns:
        (P,) losses.
    """
    # softplus(-x) = -ln sigmoid(x), without overflow.
    return functional.softplus(negative - positive[:, None]).mean(dim=1)


def one_against_all(positive: Tensor, negatives: Tensor, user_of: Tensor, items_each: float) -> Tensor:
    """Cross-entropy of the softmax over one positive and its user's negatives.

    Where the negatives are a uniform sample of the catalogue, each stands for several items: the sum of
    their exponentials is multiplied by that number (sampled softmax; Bengio and Senecal, IEEE TNN 2008).

    Args:
        positive: (P,) scores.
        negatives: (U, K) scores; -inf where an item is no negative of the user.
        user_of: (P,) int64, the line of each positive in `negatives`.
        items_each: the number of items that a sampled one stands for; 1: the catalogue is whole.

    Returns:
        (P,) losses.
    """
    # (U, K) -> (U,): ln of the sum of exponentials over all negatives of the user.
    all_of_them = torch.logsumexp(negatives, dim=1) + math.log(items_each)
    # (U,) -> (P,); `embedding` has a gradient that repeats bit for bit, see `towers.spread`.
    against = functional.embedding(user_of, all_of_them[:, None]).squeeze(1)
    return functional.softplus(against - positive)
