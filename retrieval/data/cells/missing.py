"""Words that tables write where nothing is known: the same in ids, categories and every other column."""

import polars as pl

# As pandas, R, Excel, SQL and IMDb write them: in any case, and in just this one. "none" is a value of
# MovieLens' occupations, "na" and "nat" may be words or names.
_IN_ANY_CASE = ("", "nan", "null", "n/a", "#n/a", "<na>", r"\n")
_AS_WRITTEN = ("None", "NA", "NaT")


def is_missing(texts: pl.Expr) -> pl.Expr:
    """The test of `missing` as an expression of polars."""
    stripped = texts.str.strip_chars()
    marked = stripped.str.to_lowercase().is_in(_IN_ANY_CASE) | stripped.is_in(_AS_WRITTEN)
    return texts.is_null() | marked


def missing(texts: pl.Series) -> pl.Series:
    r"""Whether each text stands for nothing, with or without spaces around it; null does.

    >>> missing(pl.Series(["NULL", " nan", r"\N", "", None, "NA", "none", "0"])).to_list()
    [True, True, True, True, True, True, False, False]
    """
    return pl.select(is_missing(pl.lit(texts))).to_series()
