"""Opens the tables that Python programs hold: frames of several libraries, mappings, lists of rows."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_ACCEPTED = "pandas or polars DataFrame, LazyFrame, Arrow table, mapping of columns, list of dicts"
_NUMBERS = (bool, int, float)
_BITS = 2**63  # integers beyond become text: nothing is ever wrapped


class ArrowTable(Protocol):
    """A table with the Arrow PyCapsule interface: of polars, pyarrow, DuckDB and others."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """A capsule with the stream of the table."""


if TYPE_CHECKING:
    Frame: TypeAlias = (
        ArrowTable
        | pl.LazyFrame
        | pd.DataFrame
        | NDArray[Any]
        | Mapping[str, Iterable[Any]]
        | Iterable[Mapping[str, Any]]
        | Iterable[Sequence[Any]]
    )


def as_frame(table: "Frame", row: Sequence[str] = ()) -> "pl.DataFrame | pd.DataFrame":
    """Any table as a polars frame; a pandas frame stays as it is.

    Args:
        row: names of the values in rows without names, such as tuples; a row may lack the last of those after
            the second. Empty: such rows are refused.

    Raises:
        DataError: if it is none of the tables above, or its rows do not fit together.

    >>> as_frame([(42, "a"), (7, "b")], ("user", "item", "rating")).to_dict(as_series=False)
    {'user': [42, 7], 'item': ['a', 'b']}
    """
    pandas = sys.modules.get("pandas")
    if isinstance(table, pl.DataFrame) or (pandas is not None and isinstance(table, pandas.DataFrame)):
        return table
    if isinstance(table, pl.LazyFrame):
        return _collected(table)
    if isinstance(table, Mapping):
        return _from_columns({str(name): _values(column) for name, column in table.items()})
    if isinstance(table, np.ndarray):
        return _from_array(table, row)
    if hasattr(table, "__arrow_c_stream__") and not hasattr(table, "to_frame"):  # a column, not a table
        return _from_arrow(table)
    if isinstance(table, Iterable) and not isinstance(table, (str, bytes, Path)):
        rows = list(table)
        if all(isinstance(each, (Mapping, tuple, list, np.void)) for each in rows):
            return _from_rows(rows, row)
    raise _refusal(table, row)


def column_names(frame: "pl.DataFrame | pd.DataFrame") -> list[str]:
    """The names of a frame's columns, as text."""
    return [str(name) for name in frame.columns]


def frame_cells(frame: "pl.DataFrame | pd.DataFrame") -> Callable[[int], pl.Series]:
    """Position -> column of a polars or pandas frame, as a polars series."""
    if isinstance(frame, pl.DataFrame):
        return lambda position: _without_objects(frame.to_series(position))
    return lambda position: from_pandas(frame.iloc[:, position])


def from_pandas(series: Any) -> pl.Series:
    """Convert one pandas column to polars, without pyarrow."""
    dtype = series.dtype
    kind = getattr(dtype, "kind", "O")
    if kind == "M" and not str(dtype).startswith(("date32", "date64")):  # days of Arrow come as dates
        zone = series.dt.tz
        if zone is not None:
            series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        times = pl.Series(series.to_numpy(dtype="datetime64[us]", na_value=np.datetime64("NaT")))
        return times if zone is None else times.dt.replace_time_zone("UTC")
    if kind in "iufb" and not series.isna().any():
        plain = getattr(dtype, "numpy_dtype", getattr(dtype, "subtype", dtype))  # masked, Arrow, sparse
        return pl.Series(series.to_numpy(dtype=plain))
    return from_values([None if gone else value for value, gone in zip(series, series.isna(), strict=True)])


def from_values(values: Sequence[Any]) -> pl.Series:
    """Convert Python values to a polars series; values that do not fit together, or UUIDs, become text.

    None, NaN and the like of pandas are nulls.

    >>> from_values([42, "x42", None]).to_list(), from_values([2**64, 1]).to_list()
    (['42', 'x42', None], ['18446744073709551616', '1'])
    """
    types = set(map(type, values))
    if not types <= {str, int, type(None)}:
        values = list(map(_plain, values))
        types = set(map(type, values))
    kinds = {_kind(each) for each in types} - {""}
    too_large = int in types and any(isinstance(each, int) and not -_BITS <= each < _BITS for each in values)
    if len(kinds) > 1 or kinds == {"other"} or too_large:
        return _texts(values)
    try:
        found = pl.Series(values, strict=False)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
        return _texts(values)
    missing = sum(each is None for each in values)
    return found if found.null_count() == missing else _texts(values)


def _plain(value: Any) -> Any:
    """A value in a type of Python's own; None where it is missing, a list for a set or an array."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]").item()  # an item in nanoseconds would be an integer
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, np.ndarray):
        return value.tolist()
    return sorted(map(str, value)) if isinstance(value, (set, frozenset)) else value


def _kind(of: type) -> str:
    """What values of a type fit together with; "" for None."""
    if of is type(None):
        return ""
    if issubclass(of, _NUMBERS):
        return "number"
    for kind in (str, bytes, datetime, date):
        if issubclass(of, kind):
            return kind.__name__
    # The text of a bare object is its address.
    is_bare = of.__str__ is object.__str__ and of.__repr__ is object.__repr__
    return "polars'" if is_bare or of.__module__ in ("builtins", "decimal", "datetime") else "other"


def _texts(values: Sequence[Any]) -> pl.Series:
    return pl.Series([None if each is None else str(each) for each in values], dtype=pl.String)


def _without_objects(series: pl.Series) -> pl.Series:
    """A column of Python objects, such as UUIDs, in a type of polars."""
    return from_values(series.to_list()) if series.dtype == pl.Object else series


def _values(column: Any) -> list[Any]:
    if isinstance(column, (str, bytes)) or not isinstance(column, Iterable):
        raise DataError(f"a column of the mapping is {column!r:.60}; expected a list of values")
    return list(column)


def _from_columns(columns: Mapping[str, Sequence[Any]]) -> pl.DataFrame:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise DataError(f"the columns differ in their numbers of values: {listed}")
    return pl.DataFrame([from_values(values).alias(name) for name, values in columns.items()])


def _from_rows(rows: list[Any], names: Sequence[str]) -> pl.DataFrame:
    """A frame of dicts, which may lack keys, of named tuples, or of tuples as long as one another."""
    if not rows:
        return pl.DataFrame({name: [] for name in names})
    if isinstance(rows[0], Mapping):
        odd = next((each for each in rows if not isinstance(each, Mapping)), None)
        if odd is not None:
            raise DataError(f"the rows are dicts, but one is {odd!r:.60}")
        keys = dict.fromkeys(key for each in rows for key in each)
        return _from_columns({str(key): [each.get(key) for each in rows] for key in keys})
    names = getattr(rows[0], "_fields", None) or names
    if not names:
        raise _refusal(rows, names)
    width = len(rows[0])
    wrong = next((row for row, each in enumerate(rows) if isinstance(each, Mapping) or len(each) != width), 0)
    if wrong or not 2 <= width <= len(names):
        expected = ", ".join(names)
        raise DataError(
            f"row {wrong} (counted from 0) is {rows[wrong]!r:.60}; expected as many values in every row: "
            f"({expected})" + (", of which the last may be missing in all" if width < len(names) else "")
        )
    return _from_columns(dict(zip(names, zip(*rows, strict=True), strict=False)))


def _from_array(array: NDArray[Any], names: Sequence[str]) -> pl.DataFrame:
    """A frame of a structured array by its fields, or of a matrix by its columns."""
    if array.dtype.names is not None and array.ndim == 1:
        return _from_columns({name: array[name].tolist() for name in array.dtype.names})
    if array.ndim != 2 or not names:
        raise _refusal(array, names)
    if not 2 <= array.shape[1] <= len(names):
        raise DataError(f"the array has the shape {array.shape}; expected the columns {', '.join(names)}")
    return _from_columns({name: column.tolist() for name, column in zip(names, array.T, strict=False)})


def _from_arrow(table: Any) -> pl.DataFrame:
    try:
        return pl.DataFrame(table)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise DataError(
            f"this {type(table).__name__} cannot be read as a table: {_first_line(error)}"
        ) from error


def _collected(frame: pl.LazyFrame) -> pl.DataFrame:
    try:
        return frame.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"the LazyFrame cannot be collected: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _refusal(table: Any, names: Sequence[str]) -> DataError:
    advice = "read a file first, such as with pandas.read_csv" if isinstance(table, (str, Path)) else None
    rows = f" or of tuples ({', '.join(names)})" if names else ""
    return DataError(f"expected a table ({_ACCEPTED}{rows}), not {type(table).__name__}", advice)
