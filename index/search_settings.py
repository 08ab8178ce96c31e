"""How hard an index looks: the numbers that trade recall for time at each search."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SearchSettings:
    """Search settings of a FAISS index; None takes its default, or is all there is where a kind lacks it.

    Attributes:
        nprobe: lists looked at per query, of an IVF index.
        ef_search: candidates kept while walking an HNSW graph.
        k_factor: how many times k candidates are scored again by a refining index.

    >>> str(SearchSettings(nprobe=16, k_factor=4.0))
    ' nprobe=16 k_factor=4'
    """

    nprobe: int | None = None
    ef_search: int | None = None
    k_factor: float | None = None

    def __str__(self) -> str:
        """As it follows a factory string in tables, a space in front of each."""
        named = (("nprobe", self.nprobe), ("efSearch", self.ef_search), ("k_factor", self.k_factor))
        return "".join(f" {name}={value:g}" for name, value in named if value is not None)

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        return asdict(self)
