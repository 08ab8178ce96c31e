"""Ranking losses of one positive against negatives, a number for each positive."""

import math

import torch
from torch import Tensor
from torch.nn import functional


def pairwise(positive: Tensor, negative: Tensor) -> Tensor:
    """-ln sigmoid(positive - negative), the mean over negatives (BPR: Rendle et al., UAI 2009).

    Args:
        positive: (P,) scores.
        negative: (P, N) scores.
    """
    return functional.softplus(negative - positive[:, None]).mean(dim=1)


def one_against_all(positive: Tensor, negatives: Tensor, user_of: Tensor, items_each: float) -> Tensor:
    """Cross-entropy of the softmax over one positive and its user's negatives.

    Where the negatives are a uniform sample of the catalogue, each stands for several items: the sum of
    their exponentials is multiplied by that number (sampled softmax; Bengio and Senecal, IEEE TNN 2008).

    Args:
        positive: (P,) scores.
        negatives: (U, K) scores; -inf where an item is no negative of the user.
        user_of: (P,) int64, each positive's line of `negatives`.
        items_each: how many items of the catalogue a sampled one stands for; 1: all are there.
    """
    all_of_them = torch.logsumexp(negatives, dim=1) + math.log(items_each)
    against = functional.embedding(user_of, all_of_them[:, None]).squeeze(1)
    return functional.softplus(against - positive)
