"""Several values in one cell: which separator a column of text uses, and the values of each cell."""

import ast
import json
import re

import polars as pl

_LIST = r"^\s*\[.*\]\s*$"
_SEPARATORS = (";", ",")
_REPEATED = 0.5  # share of a cell's parts that other cells must have too, for a separator to be one
_TEXTS = pl.List(pl.String)


def separator_of(texts: pl.Series) -> str | None:
    """The separator between several values in a cell, told by the whole column; None where each has one.

    "|" always separates, and "[" where most cells are lists as JSON or Python writes them. ";" and "," do
    where the parts of a cell return in other cells, and either the number of parts varies or a part stands in
    several places: "Drama, Romance" among "Drama" and "War, Drama" is a list, "Smith, John" among other names
    of two parts is not.

    >>> separator_of(pl.Series(["Drama, Romance", "Drama", "Comedy, Drama", "School"]))
    ','
    >>> separator_of(pl.Series(["Smith, John", "Smith, Anna", "Miller, John"])) is None
    True
    """
    cells = texts.drop_nulls().unique(maintain_order=True)
    cells = cells.filter(cells.str.strip_chars() != "")
    if not len(cells):
        return None
    if 2 * int(cells.str.contains(_LIST).sum()) > len(cells):
        return "["
    if cells.str.contains("|", literal=True).any():
        return "|"
    return next((each for each in _SEPARATORS if _separates(each, cells)), None)


def split_cells(texts: pl.Series, separator: str | None) -> pl.Series:
    """The parts of every cell, List(String); one empty text where a cell is null.

    >>> split_cells(pl.Series(["['a', 'b']", '[{"id": 1, "name": "c"}]', "[]"]), "[").to_list()
    [['a', 'b'], ['c'], []]
    """
    filled = texts.fill_null("")
    if separator is None:
        return pl.select(pl.concat_list(pl.lit(filled))).to_series()
    if separator != "[":
        return filled.str.split(separator)
    cells = filled.unique()
    parts = pl.Series([_parsed(cell) for cell in cells.to_list()], dtype=_TEXTS)
    table = pl.DataFrame({"cell": cells, "parts": parts})
    return pl.DataFrame({"cell": filled}).join(table, on="cell", how="left", maintain_order="left")["parts"]


def _separates(separator: str, cells: pl.Series) -> bool:
    pieces = cells.str.split(separator).list.eval(pl.element().str.strip_chars())
    frame = pl.DataFrame({"cell": cells, "part": pieces}).with_columns(count=pl.col("part").list.len())
    several = frame.filter(pl.col("count") > 1)
    if not several.height:
        return False
    parts = frame.with_row_index("row").explode("part").with_columns(place=pl.int_range(pl.len()).over("row"))
    of_part = parts.group_by("part").agg(cells=pl.col("row").n_unique(), places=pl.col("place").n_unique())
    repeated = parts.filter(pl.col("count") > 1).join(of_part, on="part")["cells"] > 1
    varied = frame["count"].n_unique() > 1 or bool((of_part["places"] > 1).any())
    return varied and float(repeated.mean() or 0.0) >= _REPEATED  # type: ignore[arg-type]


def _parsed(cell: str) -> list[str]:
    """The values of a list as JSON or Python writes it; of objects their name; of other text the whole."""
    found: object = None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(cell)
            break
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    if not isinstance(found, (list, tuple)):
        inside = re.fullmatch(r"\s*\[(.*)\]\s*", cell, re.DOTALL)
        return [part.strip(" '\"") for part in inside[1].split(",")] if inside else [cell]
    values = [value.get("name") if isinstance(value, dict) else value for value in found]
    return [str(value) for value in values if value is not None]
