"""The result of the search over the towers' settings as a paragraph."""

from retrieval.evaluation.choices import TuningResult, described
from retrieval.reporting.text.figures import share, signed, signed_interval

FLATTERS = "The best of many is best by luck too; what is left of this gain is in the test figures."


def tuning_text(result: TuningResult) -> str:
    """Trials, gain on validation and whether the best settings were taken."""
    first = "the defaults" if not result.held else f"the settings as given ({_held(result)} held)"
    if result.best is None or result.gain is None or result.gain_error is None:
        return (
            f"Tuning: {result.minutes:g} minutes were too few to try anything but {first}, which stay; "
            "with --tune again the search goes on."
        )
    standing = f"NDCG@{result.k} on validation {share(result.best)}, {share(result.default)} with {first}"
    gain = f"{signed(result.gain.value)}, 95% interval {signed_interval(result.gain)}"
    tried = f"Tuning: the best of {_trials(result)} has {standing}: {gain}"
    if not result.is_chosen:
        return f"{tried}, no more than its standard error of {share(result.gain_error)}, so nothing changes."
    return f"{tried}. Taken: {described(result.settings)}. {FLATTERS}"


def _held(result: TuningResult) -> str:
    return ", ".join(name.replace("_", " ") for name in result.held)


def _trials(result: TuningResult) -> str:
    details = [
        f"{count:,} {what}"
        for count, what in (
            (result.earlier, "from before"),
            (result.pruned, "given up half way"),
            (result.failed, "broken down"),
        )
        if count
    ]
    return f"{result.trials:,} trials" + (f" ({', '.join(details)})" if details else "")
