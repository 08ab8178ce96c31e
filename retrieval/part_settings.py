"""The numbers beside a fitted system's files, from its model.json: read, and refused where they cannot be."""

import math
from dataclasses import dataclass
from typing import Any

from index import SearchSettings
from retrieval.serving.two_stage import SearchKind


@dataclass(frozen=True)
class PartSettings:
    """What a part's model.json says; see `TwoStageModel` for what the numbers do.

    Raises:
        ValueError: if a value is of another type, or a number that could not have been written.
    """

    takes_histories: bool
    has_neural_mf: bool
    alpha: float
    trend_weight: float
    newcomer_alpha: float
    newcomer_trend_weight: float
    candidates: int
    serves: SearchKind
    factory: str
    search: SearchSettings
    made_with: dict[str, str]

    def __post_init__(self) -> None:
        for name in ("takes_histories", "has_neural_mf"):
            _check(name, getattr(self, name), isinstance(getattr(self, name), bool), "true or false")
        for name in ("alpha", "trend_weight", "newcomer_alpha", "newcomer_trend_weight"):
            value = getattr(self, name)
            is_weight = _is_number(value) and 0 <= value < math.inf
            _check(name, value, is_weight, "a finite number of at least 0")
        is_count = isinstance(self.candidates, int) and not isinstance(self.candidates, bool)
        _check("candidates", self.candidates, is_count and self.candidates >= 1, "an integer of at least 1")
        _check("serves", self.serves, self.serves in ("exact", "ann"), '"exact" or "ann"')
        _check("factory", self.factory, isinstance(self.factory, str), "a text")
        made = self.made_with
        is_map = isinstance(made, dict) and all(isinstance(value, str) for value in made.values())
        _check("made_with", made, is_map and len(made) > 0, "the digests of files by their names")

    @classmethod
    def from_json(cls, document: Any) -> "PartSettings":
        """What `parts.write_system` wrote.

        Raises:
            ValueError, KeyError, TypeError: if it is something else.
        """
        index = document["index"]
        return cls(
            takes_histories=document["takes_histories"],
            has_neural_mf=document["has_neural_mf"],
            alpha=document["alpha"],
            trend_weight=document["trend_weight"],
            newcomer_alpha=document["newcomer_alpha"],
            newcomer_trend_weight=document["newcomer_trend_weight"],
            candidates=document["candidates"],
            serves=document["serves"],
            factory=index["factory"],
            search=SearchSettings(**index["settings"]),
            made_with=document["made_with"],
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check(name: str, value: Any, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"model.json says that {name} is {value!r:.60}; expected {expected}")
