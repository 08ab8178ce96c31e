"""What the benchmarks of quality take: a table and seeds."""

from pathlib import Path

import click

from retrieval.data.datasets import Dataset, load_dataset
from retrieval.data.interactions import read_interactions
from retrieval.data.items import find_items_beside, read_items
from retrieval.data.users import find_users_beside, read_users
from retrieval.errors import UsageError


def read(ratings: Path | None, dataset: str, data: Path) -> Dataset:
    """Read a named set, or a table of one's own with the items and users beside it."""
    if ratings is None:
        return load_dataset(dataset, data, say)
    items, users = find_items_beside(ratings), find_users_beside(ratings)
    return Dataset(
        ratings.name, read_interactions(ratings), items and read_items(items), users and read_users(users)
    )


def say(line: str) -> None:
    """Print a line of progress on stderr."""
    click.echo(line, err=True)


def seeds_of(text: str) -> list[int]:
    """Parse numbers separated by commas."""
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError:
        raise UsageError(
            f"--seeds must be whole numbers between commas, such as 42,1,2, not {text}"
        ) from None
