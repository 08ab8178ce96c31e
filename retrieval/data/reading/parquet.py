"""Parquet tables: a file, or a folder of part files as Spark and Hive write them."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import polars as pl

from retrieval.data.reading.polars_panics import DAMAGED, without_panic_messages
from retrieval.data.reading.raw_table import Rows
from retrieval.errors import DataError

_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Part:
    """One Parquet file.

    Attributes:
        label: the file, for messages.
        source: its path, or its bytes from an archive.
        folders: names and values of the ``key=value`` folders around it.
    """

    label: str
    source: Path | bytes
    folders: dict[str, str] = field(default_factory=dict)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of its columns, then of its folders."""
        with _one_line(self.label):
            inside = tuple(pl.read_parquet_schema(self._opened()))
        return inside + tuple(name for name in self.folders if name not in inside)

    def read(self, names: Sequence[str]) -> pl.DataFrame:
        """Read the columns `names`, in this order."""
        inside = [name for name in names if name not in self.folders]
        with _one_line(self.label):
            # Columns that are folders alone do not tell the number of rows, so one stored column is read too.
            stored = [name for name in self.names if name not in self.folders]
            frame = pl.read_parquet(self._opened(), columns=inside or stored[:1], hive_partitioning=False)
        values = {name: None if text == _HIVE_NULL else text for name, text in self.folders.items()}
        return frame.with_columns(
            pl.lit(value, dtype=pl.String).alias(name) for name, value in values.items() if name in names
        ).select(names)

    def _opened(self) -> io.BytesIO | Path:
        if isinstance(self.source, Path) and not set("*?[") & set(str(self.source)):
            return self.source
        # polars takes a path with these characters for a pattern.
        return io.BytesIO(self.source if isinstance(self.source, bytes) else self.source.read_bytes())


@dataclass(frozen=True)
class ParquetTable:
    """One table in one or more parts.

    Raises:
        DataError: if a part is damaged, or has other columns than the first.
    """

    label: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in self.parts[1:]:
            if set(part.names) != set(self.names):
                raise DataError(
                    f"{self.label}: several tables: {self.parts[0].label} has the columns "
                    f"{', '.join(self.names)}, {part.label} has {', '.join(part.names)}; "
                    "give the file to read"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns."""
        return self.parts[0].names

    def read(self, positions: Sequence[int]) -> Rows:
        """Read the columns at `positions`, with the types of the file."""
        names = [self.names[position] for position in positions]
        frames = [_plain_text(part.read(names)) for part in self.parts]
        first = np.cumsum([0] + [frame.height for frame in frames])

        def where(row: int) -> str:
            part = int(np.searchsorted(first, row, side="right")) - 1
            return f"{self.parts[part].label}: row {row - first[part]} (counted from 0)"

        frame = _concatenated(frames, self.parts, self.label)
        frame.columns = [str(position) for position in positions]
        return Rows(frame, where)


def parquet_folder(folder: Path, files: Sequence[Path]) -> ParquetTable:
    """The table whose parts are `files`, somewhere below `folder`."""
    parts = []
    for path in files:
        between = path.relative_to(folder).parts[:-1]
        pairs = (name.split("=", 1) for name in between if "=" in name)
        parts.append(Part(str(path), path, {key: unquote(value) for key, value in pairs}))
    notes = (f"{len(parts)} Parquet files were read as one table",) if len(parts) > 1 else ()
    return ParquetTable(str(folder), tuple(parts), notes)


def _plain_text(frame: pl.DataFrame) -> pl.DataFrame:
    """Cast categories to text, since categories of different files cannot be concatenated."""
    return frame.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))


def _concatenated(frames: list[pl.DataFrame], parts: Sequence[Part], label: str) -> pl.DataFrame:
    for name in frames[0].columns:
        others = [frame.schema[name] for frame in frames]
        # A column without a value has no type in that part.
        dtype = next((other for other in others if other != pl.Null), pl.Null())
        if pl.String in others:  # ids can be numbers in one part and text in another
            frames = [frame.with_columns(pl.col(name).cast(pl.String)) for frame in frames]
            continue
        for other, part in zip(others, parts, strict=True):
            if other not in (dtype, pl.Null) and not (other.is_numeric() and dtype.is_numeric()):
                first = parts[others.index(dtype)].label
                raise DataError(
                    f"{label}: column {name} holds {dtype} in {first} and {other} in {part.label}; "
                    "write it with one type"
                )
    return pl.concat(frames, how="vertical_relaxed")


@contextmanager
def _one_line(label: str) -> Iterator[None]:
    """Turn every error about a Parquet file into a `DataError` of one line."""
    try:
        with without_panic_messages():
            yield
    except (*DAMAGED, OSError) as error:
        raise DataError(
            f"{label}: a damaged Parquet file: {_first_line(error)}", "write or download it again"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
