"""`evaluate`: judge the current bundle on its test slice again; nothing is trained."""

import json
from pathlib import Path

import click

from retrieval.cli.options import SHARED, artifacts_option, debug_option, json_option, k_option


@click.command(context_settings=SHARED)
@k_option
@artifacts_option
@json_option
@debug_option
def evaluate(k: int, artifacts: Path, as_json: bool) -> None:
    """Measure every stage of the bundle on the temporal test slice, with 95 % intervals.

    \b
    Example:
      retrieval evaluate --k 20
      retrieval evaluate --json > report.json
    """
    from retrieval.bundle import open_bundle
    from retrieval.cli.report_text import report_text
    from retrieval.evaluation import evaluate as measure
    from retrieval.storage import read_evaluated

    report = measure(read_evaluated(open_bundle(artifacts)), k)
    click.echo(json.dumps(report.to_json()) if as_json else report_text(report))
