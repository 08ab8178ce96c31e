"""Presets: named settings that reproduce a reference with published figures."""

from dataclasses import replace

from retrieval.settings import BuildSettings, NeuralMFSettings, id_towers


def notebook(base: BuildSettings) -> BuildSettings:
    """Train both models as the reference notebook did; everything else stays as in `base`.

    The notebook states: both models have 32 dimensions and are trained for 5 epochs by Adam at 1e-3 in
    batches of 4,096. TwoTowerBPR looks users and items up in tables, starts at a standard deviation of 0.01,
    draws users uniformly and one negative for each positive, uniformly from the items that the user has no
    positive for, and has an L2 of 1e-4 on the batch's embeddings. NeuralMF has hidden layers of 64 and 32
    and learns the raw ratings with a squared loss.

    The rest was inferred from the losses that the notebook reports for MovieLens 1M, by comparison with
    curves on half of it at half the batch size, which gives as many steps an epoch. L2 is the mean over the
    batch (with a sum the loss never leaves ln 2). An epoch has as many draws as there are positives, and
    users are uniform (positives in turn end at a loss of 0.30; the notebook reports 0.27). NeuralMF's output
    starts near 0, torch's own start: the reported validation RMSE falls through all five epochs, and from a
    start at the mean rating it is level after two. The notebook mentions no dropout, weight decay or L2 for
    NeuralMF, so there is none; its embeddings start at 0.01 too, which the reported curve cannot tell from
    0.1.

    On tables much smaller than MovieLens 1M an epoch has few steps: on MovieLens 100K five epochs are 50
    steps of the towers, which hardly move them.
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
