"""The first screen: whether to ship the list, to whom, beside what and how surely; one table; the parts."""

import textwrap
from collections.abc import Sequence
from itertools import groupby

from retrieval.evaluation.comparisons import Comparison
from retrieval.evaluation.index_benchmark.result import compare_speed
from retrieval.evaluation.report import GroupReport, Report
from retrieval.evaluation.stages import BASELINES, WARM, stage_name
from retrieval.reporting.text.figures import listed, share, short_count, signed, signed_interval
from retrieval.reporting.text.tables import WIDTH, format_table, shorten, wrap

# Below so many people a difference says nothing, whatever its interval: a rule of thumb.
FEW = 20
# Baselines in words for someone who has not read the docs.
IN_WORDS = {
    "popularity": "a list of the bestsellers",
    "recent_popularity": "a list of the recent bestsellers",
    "ease": "EASE, a linear model",
    "item_knn": "item-kNN, items near those they liked",
}
# The same above a column.
HEADERS = {"popularity": "popular", "recent_popularity": "recent", "ease": "EASE", "item_knn": "item-kNN"}


def summary_text(report: Report) -> str:
    """What `build-index` and `evaluate` print unless asked for all: at most 80 columns and 30 lines."""
    parts = [_heading(report), "\n".join(["Ship it?", *map(_indented, _answers(report))])]
    if report.groups:
        parts.append(_table(report))
    return "\n\n".join([*parts, "\n".join(map(wrap, _made_of(report)))])


def _heading(report: Report) -> str:
    split = report.split
    rows = f": trained on the oldest {split.train:,} rows, judged on the newest {split.test:,}"
    if report.split_kind == "random":
        rows = f": trained on {split.train:,} rows, judged on {split.test:,} others, drawn AT RANDOM"
    heading = shorten(report.dataset, WIDTH - len(rows)) + rows
    if report.dates is not None:
        first, last, test_first, test_last = report.dates.days()
        heading += f"\n  from {first} to {last}, and from {test_first} to {test_last}"
    if report.split_kind == "random":
        heading += "\nTrain knows everybody's future, so all figures are too kind."
    return heading


def _answers(report: Report) -> list[str]:
    """A sentence or two for each kind of user."""
    warm = [group for group in report.groups if group.name == WARM]
    cold = [group for group in report.groups if group.history]
    brand_new = [group for group in report.groups if group.history == 0]
    answers = []
    if warm:
        answers.append(f"To users it knows: {_answer(warm[0])}")
    else:
        answers.append("To users it knows: nobody can say, none of them has a relevant item to be judged by.")
    if cold and not any(group.served for group in cold):
        answers.append("To new users: no. These towers know only their own users.")
    elif cold:
        answers += _to_new(cold)
    if brand_new and brand_new[0].served:
        better = next((each for each in _rivals(brand_new[0]) if each.verdict == "worse"), None)
        but = (
            ""
            if better is None
            else f", though {IN_WORDS[better.against]} is better {_sure(brand_new[0], better)}"
        )
        answers.append(f"To users of whom nothing is known: they get {IN_WORDS[brand_new[0].served]}{but}.")
    return answers


def _to_new(groups: Sequence[GroupReport]) -> list[str]:
    """New users by the number of their interactions that are known; one sentence for neighbours alike."""
    answers = []
    for word, same in groupby(groups, _word):
        alike = list(same)
        if len(alike) == 1:
            answers.append(f"To new users with {_known(alike[0])}: {_answer(alike[0])}")
            continue
        users = f"({short_count(min(group.users for group in alike))} users or more)"
        said = {
            "yes": f"yes. It is better than every simple list {users}",
            "level": f"level. No simple list is clearly better, nor it than all of them {users}",
            "too few": f"nobody can say, {_few(max(group.users for group in alike))} to judge by",
            "no": f"no. {_better_ones(alike)} better for them {users}",
        }
        known = f"{alike[0].history} to {alike[-1].history} known items"
        answers.append(f"To new users with {known}: {said[word]}.")
    return answers


def _better_ones(groups: Sequence[GroupReport]) -> str:
    """The baselines that are clearly better for any of the groups, and the verb."""
    worse = [each.against for group in groups for each in _rivals(group) if each.verdict == "worse"]
    names = [stage_name(base) for base in BASELINES if base in worse]
    text = f"{listed(names)} {'are' if len(names) > 1 else 'is'}"
    return text[0].upper() + text[1:]


def _known(group: GroupReport) -> str:
    return f"{group.history} known item{'s' if group.history != 1 else ''}"


def _few(users: int) -> str:
    return "one such user is too few" if users == 1 else f"{users} such users are too few"


def _rivals(group: GroupReport) -> list[Comparison]:
    """The served list against each baseline, the strongest baseline first."""
    found = [each for each in group.comparisons if each.stage == group.served and each.against in BASELINES]
    return sorted(found, key=lambda each: each.difference.value)


def _word(group: GroupReport) -> str:
    rivals = _rivals(group)
    if group.users < FEW or not rivals:
        return "too few"
    verdicts = [each.verdict for each in rivals]
    if "worse" in verdicts:
        return "no"
    return "yes" if all(verdict == "better" for verdict in verdicts) else "level"


def _answer(group: GroupReport) -> str:
    rivals, word = _rivals(group), _word(group)
    if word == "too few":
        return f"nobody can say, {_few(group.users)} to judge by."
    # The largest clear loss, or else the strongest baseline.
    rival = next((each for each in rivals if each.verdict == "worse"), rivals[0])
    name = IN_WORDS[rival.against]
    sure = _sure(group, rival)
    if word == "no":
        return f"no. {name[0].upper()}{name[1:]} is better for them {sure}."
    if word == "yes":
        return f"yes. It is better than every simple list, also than the best, {name} {sure}."
    beaten = [stage_name(each.against) for each in rivals if each.verdict == "better"]
    besides = f" It is better than {listed(beaten)}." if beaten else ""
    return f"level. It cannot be told apart from the best simple list, {name} {sure}.{besides}"


def _sure(group: GroupReport, rival: Comparison) -> str:
    """The two figures, the served list's first, the interval of their difference, and the number of users."""
    served, other = group.ndcg[rival.stage].value, group.ndcg[rival.against].value
    low, high = rival.difference.low, rival.difference.high
    return (
        f"({share(served)} against {share(other)}; 95% sure between {_short(low)} and {_short(high)}; "
        f"{short_count(group.users)} users)"
    )


def _short(difference: float) -> str:
    """A difference with three decimals."""
    return f"{round(difference, 3) + 0.0:+.3f}".replace("0.", ".", 1)


def _table(report: Report) -> str:
    """NDCG of the served list and of each baseline, a line for each group."""
    bases = [base for base in BASELINES if any(base in group.ndcg for group in report.groups)]
    rows = []
    for group in report.groups:
        values = [group.ndcg[group.served].value if group.served else None]
        values += [group.ndcg[base].value if base in group.ndcg else None for base in bases]
        best = max((round(value, 3) for value in values if value is not None), default=None)
        cells = [
            "-" if value is None else share(value) + ("*" if round(value, 3) == best else " ")
            for value in values
        ]
        rows.append([_who(group), short_count(group.users), *cells])
    header = [f"NDCG@{report.k}", "users", "served ", *(f"{HEADERS[base]} " for base in bases)]
    relevant = "met later" if report.positive_threshold is None else f"rated {report.positive_threshold:g} up"
    legend = (
        f"NDCG@{report.k}: 1 where the items they {relevant} are on top of the list, 0 where none is on it. "
        "*: best of its line. popular, recent: bestsellers of all time, and of late."
    )
    return f"{format_table(header, rows, right=range(1, len(header)))}\n{wrap(legend)}"


def _who(group: GroupReport) -> str:
    if group.name == WARM:
        return "users it knows"
    return f"new, {group.history} known" if group.history else "nothing known"


def _made_of(report: Report) -> list[str]:
    """What re-ranking gains and what the index saves."""
    return [_reranking(report), _index(report)]


def _reranking(report: Report) -> str:
    if report.blend is None or report.rating is None:
        return "Re-ranking: none, there are no ratings to learn from."
    if not report.blend.reranks:
        return "Re-ranking: left out, it gained nothing on validation."
    pair = ("exact+rerank", "exact")
    found = next((each for each in report.comparisons if (each.stage, each.against) == pair), None)
    by = [
        *(["NeuralMF's ratings"] if report.blend.alpha else []),
        *(["the trend"] if report.blend.trend else []),
    ]
    gain = ""
    if found is not None:
        words = {"better": "a gain", "worse": "a loss"}.get(found.verdict, "no clear gain")
        gain = f": {signed(found.difference.value)} ({signed_interval(found.difference)}), {words}"
    return f"Re-ranking by {listed(by)}{gain}."


def _index(report: Report) -> str:
    ann = report.ann
    speed = compare_speed(ann.ann_p50_ms, ann.exact_p50_ms)
    if ann.serves == "exact":
        return "Index: exact search answers, no index is faster on so few items."
    times = {"faster": f"{speed.times:.1f} times faster than", "level": "as fast as"}.get(
        speed.verdict, f"{speed.times:.1f} times slower than"
    )
    return f"Index: {ann.index} finds {ann.recall.value:.1%} of the candidates, {times} exact search."


def _indented(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
