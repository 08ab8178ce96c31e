"""An embedding-retrieval recommender: two towers, a FAISS index, a neural re-ranker, all measured.

>>> from retrieval import Recommender
>>> Recommender.__name__
'Recommender'
"""

TYPE_CHECKING = False  # importing typing takes longer than the rest of this file, before Ctrl-C is caught
if TYPE_CHECKING:
    from retrieval import errors as errors
    from retrieval import settings as settings
    from retrieval.data.interactions import Interactions
    from retrieval.data.items import ItemTable
    from retrieval.data.reading.columns import ColumnNames
    from retrieval.data.users import UserTable
    from retrieval.recommender import Recommender
    from retrieval.serving.recommendations import RecommendationLists, Recommendations, RecommendedItem
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
    "ItemTable",
    "NeuralMFSettings",
    "RecommendationLists",
    "Recommendations",
    "RecommendedItem",
    "Recommender",
    "SplitSettings",
    "TowerSettings",
    "TuneSettings",
    "UserTable",
]

_HOMES = {
    "BuildSettings": "retrieval.settings",
    "ColumnNames": "retrieval.data.reading.columns",
    "Interactions": "retrieval.data.interactions",
    "ItemTable": "retrieval.data.items",
    "NeuralMFSettings": "retrieval.settings",
    "RecommendationLists": "retrieval.serving.recommendations",
    "Recommendations": "retrieval.serving.recommendations",
    "RecommendedItem": "retrieval.serving.recommendations",
    "Recommender": "retrieval.recommender",
    "SplitSettings": "retrieval.settings",
    "TowerSettings": "retrieval.settings",
    "TuneSettings": "retrieval.settings",
    "UserTable": "retrieval.data.users",
}
_MODULES = ("errors", "settings")


def __getattr__(name: str) -> object:
    """Import on first use: `import retrieval` does no work."""
    if name not in (*_HOMES, *_MODULES):
        raise AttributeError(f"module 'retrieval' has no attribute {name!r}")
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"retrieval.{name}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*(name for name in globals() if name.startswith("__")), *__all__, *_MODULES]
