"""The difference of two bundles as text: A is `one`, B is `other`, and differences are B - A."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from retrieval.evaluation.comparisons import verdict
from retrieval.evaluation.diff.bundles import BundleDiff, Difference, Identity, SharedIds
from retrieval.evaluation.diff.lists import ListOverlap, MovedItem
from retrieval.evaluation.diff.quality import QualityDiff, StageDiff
from retrieval.reporting.text.figures import (
    listed,
    p_value_text,
    share,
    share_with_interval,
    signed,
    signed_interval,
)
from retrieval.reporting.text.tables import WIDTH, cell_width, format_table, printable, shorten, wrap

METRIC_NAMES = {"precision": "Precision", "recall": "Recall", "ndcg": "NDCG"}
DIGEST_SHOWN = 12
TIMES = ("split.validation_start", "split.test_start")
COUNTS = ("data.", "split.counts.")
# The entries of a catalogue change that do not count what it did.
NOT_DONE = ("at", "what", "items", "tombstones")


def diff_text(diff: BundleDiff) -> str:
    """Everything that `retrieval bundles diff` prints without --json: at most 80 columns."""
    parts = [_identities(diff), *_settings(diff), _catalogue(diff), *_overlap(diff.overlap)]
    return "\n\n".join([*parts, *_quality(diff)])


def _identities(diff: BundleDiff) -> str:
    both = (("A", diff.one), ("B", diff.other))
    rows = [[letter, each.name, _time(each.created), str(each.data.name)] for letter, each in both]
    lines = [format_table(["", "bundle", "built (UTC)", "data"], rows, shrink=[3, 1])]
    lines += [wrap(f"{letter} was changed since: {_changes(each)}.") for letter, each in both if each.changes]
    if diff.one.build_id == diff.other.build_id:
        lines.append("A and B are the same bundle.")
    return "\n".join(lines)


def _changes(bundle: Identity) -> str:
    """The catalogue changes of a bundle, such as: add (2 added), compact."""
    steps = []
    for change in bundle.changes:
        counts = ", ".join(f"{n:,} {what}" for what, n in change.items() if what not in NOT_DONE and n)
        steps.append(str(change["what"]) + (f" ({counts})" if counts else ""))
    return ", ".join(map(printable, steps))


def _settings(diff: BundleDiff) -> list[str]:
    """A table for each group of values with differences, and one line that names the groups without."""
    groups = {
        "Settings": diff.settings,
        "Libraries and machine": diff.environment,
        "Data and split": diff.data,
        "Index and weights": diff.serving,
    }
    tables = [_table(name, values) for name, values in groups.items() if values]
    same = [name[0].lower() + name[1:] for name, values in groups.items() if not values]
    return [*tables, *([wrap(f"The same in both: {'; '.join(same)}.")] if same else [])]


def _table(name: str, values: Sequence[Difference]) -> str:
    """A table line for each value; values too long for it follow below, on a line for each side."""
    rows = [[each.name, _value(each.name, each.one), _value(each.name, each.other)] for each in values]
    room = (WIDTH - max(cell_width(printable(text)) for text in (name, *(row[0] for row in rows))) - 4) // 2
    short = [row for row in rows if all(cell_width(printable(text)) <= room for text in row[1:])]
    lines = [format_table([name, "A", "B"], short) if short else name]
    for title, one, other in (row for row in rows if row not in short):
        sides = (("A", one), ("B", other))
        lines += [shorten(title, WIDTH), *(shorten(f"  {letter}  {text}", WIDTH) for letter, text in sides)]
    return "\n".join(lines)


def _value(name: str, value: Any) -> str:
    """A value of the manifest as text: times as dates, digests cut, counts with thousands separators.

    >>> _value("split.test_start", 889237269.0), _value("data.rows", 100000), _value("tune", None)
    ('1998-03-07 02:21:09', '100,000', '-')
    """
    if value is None:
        return "-"
    if name in TIMES:
        return _time(value)
    if name.endswith("sha256"):
        return str(value)[:DIGEST_SHOWN]
    if isinstance(value, int) and name.startswith(COUNTS):
        return f"{value:,}"
    return value if isinstance(value, str) else json.dumps(value)


def _time(moment: float | str) -> str:
    """Unix seconds or ISO 8601 as 1998-03-07 02:21:09 in UTC; unchanged if no calendar has such a date."""
    try:
        if isinstance(moment, str):
            at = datetime.fromisoformat(moment).astimezone(UTC)
        else:
            at = datetime.fromtimestamp(moment, UTC)
    except (ValueError, OverflowError, OSError):
        return str(moment)
    return f"{at:%Y-%m-%d %H:%M:%S}"


def _catalogue(diff: BundleDiff) -> str:
    rows = [
        [name, f"{ids.both:,}", f"{ids.only_one:,}", f"{ids.only_other:,}", _examples(ids)]
        for name, ids in (("users", diff.users), ("items", diff.items))
    ]
    header = ["Served", "in both", "only A", "only B", "such as"]
    lines = [format_table(header, rows, right=[1, 2, 3], shrink=[4])]
    renamed = diff.items.other_titles
    if renamed:
        lines.append(wrap(f"{renamed:,} of the items in both have another title in each."))
    if diff.one.data.sha256 != diff.other.data.sha256:
        words = "Users and items are matched by id; A and B are of different data, where an id may be reused."
        lines.append(wrap(words))
    return "\n".join(lines)


def _examples(ids: SharedIds) -> str:
    parts = (("A", ids.examples_one, ids.only_one), ("B", ids.examples_other, ids.only_other))
    return "; ".join(
        f"{letter}: {', '.join(shorten(each, 12) for each in examples)}{', …' if n > len(examples) else ''}"
        for letter, examples, n in parts
        if examples
    )


def _overlap(overlap: ListOverlap) -> list[str]:
    if not overlap.users:
        why = "both serve them, but list nothing" if overlap.shared_users else "no user is served by both"
        return [wrap(f"Lists: none to compare, {why}.")]
    mean, users = overlap.overlap, f"{overlap.users:,} of the {overlap.shared_users:,}"
    if overlap.users == overlap.shared_users:
        users = f"all {overlap.users:,}"
    words = (
        f"Lists: of the top {overlap.k:,} that {users} users in both get, {share(mean.value)} of the items "
        f"are the same, 95% interval {share(mean.low)} to {share(mean.high)}; {overlap.same:,} users get the "
        "very same list."
    )
    moved = (("A", "B", overlap.more_in_one), ("B", "A", overlap.more_in_other))
    return [wrap(words), *(_moved(by, lacks, items) for by, lacks, items in moved if items)]


def _moved(by: str, lacks: str, items: Sequence[MovedItem]) -> str:
    """The items that one bundle lists for more users, with the number of users in each."""
    rows = [
        [
            each.item,
            each.title or "",
            f"{each.one:,}",
            f"{each.other:,}",
            "" if each.known_to_both else f"not in {lacks}",
        ]
        for each in items
    ]
    return format_table(["item", f"listed more by {by}", "A", "B", ""], rows, right=[2, 3], shrink=[1, 0])


def _quality(diff: BundleDiff) -> list[str]:
    quality = diff.quality
    served, exact = quality.stages
    only_one = served.one == served.other == exact.one
    stages = [served] if only_one else [served, exact]
    changed = [letter for letter, each in (("A", diff.one), ("B", diff.other)) if each.changes]
    words = [wrap(_judges(quality))]
    if changed:
        words.append(wrap(f"What was changed in {listed(changed)} since the build is not in these figures."))
    tables = [f"{_stage_table(stage, quality)}\n{wrap(_standing(stage, quality))}" for stage in stages]
    return ["\n".join(words), *tables]


def _judges(quality: QualityDiff) -> str:
    """The test users of each bundle, and whether differences are paired."""
    ndcg = quality.stages[0].metrics[-1]
    one, other = (
        f"{users:,} test users ({relevant:,} with a relevant item)"
        for users, relevant in ((quality.users_one, ndcg.users_one), (quality.users_other, ndcg.users_other))
    )
    if quality.paired:
        return f"Quality: the same {one} judge both by the same items; differences are paired by user."
    if quality.unpaired == "other users":
        who = f"{one} judge A, {other} judge B, {quality.shared_users:,} are in both"
    else:
        who = f"the same users judge both, but not by the same relevant items: {one} in A, {other} in B"
    means = "over different users" if quality.unpaired == "other users" else "by different measures"
    return (
        f"Quality: {who}. Differences are of means {means}, NOT PAIRED: they tell of the test slices as much "
        "as of the bundles."
    )


def _stage_table(stage: StageDiff, quality: QualityDiff) -> str:
    header = [f"{stage.kind} @{quality.k}", "A", "B", "B - A", "95% interval"]
    rows = [
        [
            METRIC_NAMES[each.metric],
            share_with_interval(each.one),
            share_with_interval(each.other),
            signed(each.difference.value),
            signed_interval(each.difference),
            *([] if each.p_value is None else [p_value_text(each.p_value)]),
        ]
        for each in stage.metrics
    ]
    return format_table([*header, *(["p"] if quality.paired else [])], rows, right=[3, 5])


def _standing(stage: StageDiff, quality: QualityDiff) -> str:
    """The verdicts in a sentence, metrics of the same verdict together."""
    phrases = {
        "better": "better" if quality.paired else "higher",
        "worse": "worse" if quality.paired else "lower",
        "no clear difference": "not clearly different",
    }
    found: dict[str, list[str]] = {}
    for each in stage.metrics:
        name, word = METRIC_NAMES[each.metric], verdict(each.difference)
        found.setdefault(phrases.get(word, word), []).append(name if each.metric == "ndcg" else name.lower())
    clauses = [f"{word} in {listed(names)}" for word, names in found.items()]
    what = f"A serves {stage.one}, B {stage.other}" if stage.kind == "served" else "Exact search alone"
    return f"{what}: B is {'; '.join(clauses)}."
