"""What tests of reports share."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.support.models import with_weights

if TYPE_CHECKING:
    from retrieval.serving.fitted_system import FittedSystem


def without_times(document: Any) -> Any:
    """A report's JSON without its milliseconds and seconds, which differ from run to run."""
    if isinstance(document, dict):
        timed = ("_ms", "seconds")
        return {key: without_times(value) for key, value in document.items() if not key.endswith(timed)}
    return [without_times(entry) for entry in document] if isinstance(document, list) else document


def with_alpha(system: "FittedSystem", alpha: float) -> "FittedSystem":
    """The same system with another weight of the predicted rating."""
    return replace(system, model=with_weights(system.model, alpha=alpha))
