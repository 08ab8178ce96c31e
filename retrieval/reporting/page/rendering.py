"""Renders a report document as an HTML page."""

from collections.abc import Mapping
from typing import Any

from retrieval.data.split_counts import SliceDates
from retrieval.evaluation.stages import served_stage_in
from retrieval.reporting.page import ranking_sections, settings_section, stage_sections
from retrieval.reporting.page.layout import Section
from retrieval.reporting.page.svg import inline_svg
from retrieval.reporting.page.words import Document, count, headline

TEMPLATE = "report.html.j2"
SPLITS = {"time": "by time", "random": "at random: train knows everybody’s future, all figures are too kind"}


def render_page(document: Document, settings: Mapping[str, Any] | None = None) -> str:
    """Render the whole page, which refers to nothing outside itself.

    The same document gives the same bytes with the same version of matplotlib.

    Args:
        document: what `Report.to_json` gives, or a report.json that was read; a section whose keys are
            missing or empty is left out.
        settings: the build's settings, as in the manifest.
    """
    from importlib.resources import files

    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.from_string((files("retrieval.reporting.page") / TEMPLATE).read_text("utf-8"))
    return template.render(
        dataset=document.get("dataset") or "unnamed data",
        headline=headline(document),
        facts=_facts(document),
        sections=page_sections(document, settings),
        svg=inline_svg,
    )


def page_sections(document: Document, settings: Mapping[str, Any] | None = None) -> list[Section]:
    """The sections that the document has figures for, from the ranked lists down to the settings."""
    found = (
        ranking_sections.stages(document),
        ranking_sections.comparisons(document),
        ranking_sections.groups(document),
        stage_sections.funnel(document),
        stage_sections.reranker(document),
        stage_sections.depth(document),
        stage_sections.index(document),
        stage_sections.ratings(document),
        stage_sections.training(document),
        settings_section.settings(document, settings),
    )
    return [section for section in found if section is not None]


def _facts(document: Document) -> list[tuple[str, str]]:
    """The facts at the top of the page: split, slices, protocol and served stage."""
    split = document.get("split") or {}
    facts = []
    if "kind" in split:
        facts.append(("Split", SPLITS.get(split["kind"], str(split["kind"]))))
    for name in ("train", "validation", "test"):
        if name in split:
            warm = split.get(f"warm_{name}")
            known = "" if warm is None else f", {count(warm)} warm"
            facts.append((name.capitalize(), f"{count(split[name])} rows{known}"))
    if document.get("dates"):
        first, last, test_first, test_last = SliceDates(**document["dates"]).days()
        facts.append(("Times", f"train {first} to {last}, test {test_first} to {test_last}"))
    if "users" in split:
        facts.append(
            ("Catalogue", f"{count(split['users'])} users, {count(split.get('items'))} items in train")
        )
    if document.get("judged_users") is not None:
        tested = f" of {count(split['test_users'])} warm test users" if "test_users" in split else ""
        facts.append(("Judged", f"{count(document['judged_users'])} users with a relevant item{tested}"))
    if "positive_threshold" in document:
        threshold = document["positive_threshold"]
        facts.append(("Relevant", "every row" if threshold is None else f"rated {threshold:g} or more"))
    if document.get("protocol") is not None:
        facts.append(("Protocol", f"{document['protocol']}, k = {document.get('k')}"))
    served = served_stage_in(document)
    return [*facts, ("Served", served)] if served else facts
