"""`query`: recommendations for a user or a history. Imports neither torch nor polars, to start fast."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from retrieval.cli.options import (
    SHARED,
    artifacts_option,
    complete_bundle,
    debug_option,
    json_option,
    k_option,
    verify_option,
)
from retrieval.cli.quantities import Bytes
from retrieval.errors import UsageError
from retrieval.reporting.text.tables import format_table, printable

if TYPE_CHECKING:
    from retrieval.bundles.bundle import Verification
    from retrieval.serving.recommendations import Fallback, Recommendations


@click.command(context_settings=SHARED)
@click.option("--user", metavar="ID", help="A user the bundle knows.")
@click.option(
    "--history",
    metavar="ITEM,ITEM",
    help="Someone new, by items they liked; @FILE has an item a line.",
)
@k_option
@click.option("--exact", is_flag=True, help="Search all items instead of asking the approximate index.")
@click.option("--no-rerank", is_flag=True, help="Leave the candidates in retrieval order.")
@click.option(
    "--fallback", type=click.Choice(["popular"]), help="What unknown users get instead of an error."
)
@click.option(
    "--only",
    multiple=True,
    metavar="RULE",
    help="What every item must be: COLUMN=VALUE or COLUMN=VALUE,VALUE for either, ITEM,ITEM, or @FILE with "
    "an item a line. Given again: that too.",
)
@click.option("--exclude", multiple=True, metavar="RULE", help="What no item may be, likewise.")
@artifacts_option
@click.option(
    "--bundle",
    metavar="NAME",
    shell_complete=complete_bundle,
    help="Another bundle than the current one, by its name.  [default: the current one]",
)
@verify_option
@click.option(
    "--memory-limit", type=Bytes(), help="Refuse a bundle that takes more, such as 500M.  [default: any]"
)
@json_option
@debug_option
def query(
    user: str | None,
    history: str | None,
    k: int,
    exact: bool,
    no_rerank: bool,
    fallback: "Fallback | None",
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    artifacts: Path,
    bundle: str | None,
    verify: "Verification",
    memory_limit: int | None,
    as_json: bool,
) -> None:
    """Recommend items to a user, or to someone known only by a history.

    \b
    Example:
      query --user 42 --k 10
      query --history 50,181,258 --k 5 --json
      query --user 42 --only genre=Comedy,Drama --exclude decade=1990s
    """
    if (user is None) == (history is None):
        which = "both were given" if user is not None else "neither was given"
        raise UsageError(f"give one of --user and --history, as in query --user 42; {which}")

    from retrieval.cli.filter_rules import parse_rules
    from retrieval.recommender import Recommender

    recommender = Recommender.load(artifacts, bundle=bundle, verify=verify, memory_limit=memory_limit)
    attributes = recommender.system.attributes
    wanted = parse_rules("--only", only, attributes)
    unwanted = parse_rules("--exclude", exclude, attributes)
    rerank = not no_rerank
    if user is not None:
        answer = recommender.recommend(
            [user], k, exact=exact, rerank=rerank, fallback=fallback, only=wanted, exclude=unwanted
        )[0]
    else:
        items = _history(history or "")
        answer = recommender.recommend_for_history(
            items, k, exact=exact, rerank=rerank, fallback=fallback, only=wanted, exclude=unwanted
        )
    click.echo(json.dumps(answer.to_json()) if as_json else _text(answer))


def _history(text: str) -> list[str]:
    """The items of --history: between commas, or in a file, where ids may hold commas."""
    from retrieval.cli.filter_rules import read_ids

    if text.startswith("@") and text[1:]:
        items = read_ids(Path(text[1:]))
    else:
        items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise UsageError("--history names no item; name at least one, as in --history 50,181 or @FILE")
    return items


def _text(answer: "Recommendations") -> str:
    who = "someone with this history" if answer.user is None else f"user {answer.user}"
    titled = any(item.title for item in answer.items)
    rated = any(item.predicted_rating is not None for item in answer.items)
    rows = [
        [
            str(rank),
            str(item.item),
            *([item.title or ""] if titled else []),
            f"{item.score:.3f}",
            *([f"{item.predicted_rating:.2f}"] if item.predicted_rating is not None else []),
            str(item.retrieval_rank),
        ]
        for rank, item in enumerate(answer.items, start=1)
    ]
    first = printable(f"{len(rows)} recommendation{'' if len(rows) == 1 else 's'} for {who}")
    notes = [printable(f"note: {note}") for note in answer.notes]
    if not rows:
        return "\n".join([first, *notes])
    header = ["", "item", *["title"] * titled, "score", *["rating"] * rated, "retrieved"]
    numbers = [0, *range(header.index("score"), len(header))]
    return "\n".join(
        [first, format_table(header, rows, right=numbers, shrink=[2, 1] if titled else [1]), *notes]
    )
