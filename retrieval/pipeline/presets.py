"""Settings under one name: those of a reference whose figures are known."""

from dataclasses import replace

from retrieval.settings import BuildSettings, NeuralMFSettings, id_towers


def notebook(base: BuildSettings) -> BuildSettings:
    """Train both models as the reference notebook did; everything else stays as in `base`.

    Known of the notebook, from what it says beside its figures: both models have 32 dimensions and are
    trained for 5 epochs by Adam at 1e-3 in batches of 4,096. TwoTowerBPR looks users and items up,
    starts at a standard deviation of 0.01, draws users uniformly and for each positive one negative,
    uniformly from what the user has no positive for, and has an L2 of 1e-4 on the batch's embeddings.
    NeuralMF has hidden layers of 64 and 32 and learns the ratings themselves with a squared loss.

    Not known, and how it was chosen: by the losses the notebook reports for MovieLens 1M, against
    curves on the half of it at half the batch, which is as many steps an epoch. L2 is the mean over the
    batch (as a sum the loss never leaves ln 2), an epoch has as many draws as there are positives, and
    users are uniform (the positives in turn end at 0.30, reported is 0.27). NeuralMF's output starts
    near 0, torch's own start: reported validation RMSE falls through all five epochs, and from a start
    at the mean rating it is level after two. Nothing is said of dropout, weight decay or L2 there, so
    there is none; its embeddings start at 0.01 too, which the reported curve cannot tell from 0.1.

    An epoch of a table much smaller than MovieLens 1M has few steps of this size: on MovieLens 100K five
    epochs are 50 steps of the towers, which hardly move them.
    """
    towers = id_towers(
        dimension=32,
        item_bias=False,
        initial_std=0.01,
        negatives=1,
        user_sampling="users",
        learning_rate=1e-3,
        batch_size=4096,
        max_epochs=5,
        early_stopping=False,
        averaging_decay=0.0,
        l2=1e-4,
        recency_half_life_days=None,
    )
    neural_mf = NeuralMFSettings(
        dimension=32,
        hidden=(64, 32),
        dropout=0.0,
        unknown_users=0.0,
        initial_std=0.01,
        standardise=False,
        learning_rate=1e-3,
        weight_decay=0.0,
        batch_size=4096,
        max_epochs=5,
        early_stopping=False,
        averaging_decay=0.0,
    )
    return replace(base, towers=towers, neural_mf=neural_mf, preset="notebook")
