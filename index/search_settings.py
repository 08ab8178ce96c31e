"""Search settings of an index: the numbers that trade recall for time at each search."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SearchSettings:
    """Search settings of a FAISS index; None: the default, or the kind of index has no such setting.

    Attributes:
        nprobe: lists that an IVF index probes for a query.
        ef_search: FAISS's efSearch: candidates kept during a walk through an HNSW graph.
        k_factor: a refining index scores k_factor * k candidates again by their whole vectors.

    >>> str(SearchSettings(nprobe=16, k_factor=4.0))
    ' nprobe=16 k_factor=4'
    """

    nprobe: int | None = None
    ef_search: int | None = None
    k_factor: float | None = None

    def __str__(self) -> str:
        """The settings as they follow a factory string in tables, each after a space."""
        named = (("nprobe", self.nprobe), ("efSearch", self.ef_search), ("k_factor", self.k_factor))
        return "".join(f" {name}={value:g}" for name, value in named if value is not None)

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        return asdict(self)
