"""An embedding-retrieval recommender: two towers, a FAISS index, a neural re-ranker, all measured.

>>> from retrieval import Recommender
>>> Recommender.__name__
'Recommender'
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval.data.interactions import Interactions
    from retrieval.data.reading.columns import ColumnNames
    from retrieval.recommender import Recommender
    from retrieval.settings import (
        BuildSettings,
        NeuralMFSettings,
        SplitSettings,
        TowerSettings,
        TuneSettings,
    )

__all__ = [
    "BuildSettings",
    "ColumnNames",
    "Interactions",
    "NeuralMFSettings",
    "Recommender",
    "SplitSettings",
    "TowerSettings",
    "TuneSettings",
]

_HOMES = {
    "BuildSettings": "retrieval.settings",
    "ColumnNames": "retrieval.data.reading.columns",
    "Interactions": "retrieval.data.interactions",
    "NeuralMFSettings": "retrieval.settings",
    "Recommender": "retrieval.recommender",
    "SplitSettings": "retrieval.settings",
    "TowerSettings": "retrieval.settings",
    "TuneSettings": "retrieval.settings",
}


def __getattr__(name: str) -> Any:
    """Import on first use: `import retrieval` does no work."""
    if name not in _HOMES:
        raise AttributeError(f"module 'retrieval' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*(name for name in globals() if name.startswith("__")), *__all__]
