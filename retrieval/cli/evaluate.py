"""`evaluate`: measures the current bundle on its test slice again, without training."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from retrieval.cli.options import (
    SHARED,
    artifacts_option,
    debug_option,
    full_option,
    json_option,
    k_option,
    verify_option,
)

if TYPE_CHECKING:
    from retrieval.bundles.bundle import Verification
    from retrieval.evaluation.protocols import ProtocolName

NOTEBOOK_K = 10


@click.command(context_settings=SHARED)
@k_option
@click.option(
    "--protocol",
    type=click.Choice(["standard", "notebook"]),
    default="standard",
    help="notebook counts as the reference notebook did; its figures compare with its own only.",
)
@full_option
@artifacts_option
@verify_option
@json_option
@debug_option
def evaluate(
    k: int, protocol: "ProtocolName", full: bool, artifacts: Path, verify: "Verification", as_json: bool
) -> None:
    """Measure every stage of the bundle on its test slice, with 95 % intervals.

    \b
    Example:
      retrieval evaluate --k 20 --full
      retrieval evaluate --protocol notebook
      retrieval evaluate --json > report.json
    """
    from retrieval.bundles.registry import read_current
    from retrieval.evaluation.evaluate import evaluate as measure
    from retrieval.evaluation.from_bundle import read_evaluated
    from retrieval.reporting.text.report import report_text
    from retrieval.reporting.text.summary import summary_text

    bundle, evaluated = read_current(artifacts, lambda bundle: (bundle, read_evaluated(bundle)), verify)
    report = measure(evaluated, k, protocol)
    whole = full or protocol != "standard"
    document, text = report.to_json(), report_text(report) if whole else summary_text(report)
    if protocol == "notebook" and bundle.manifest.settings.preset == "notebook" and k == NOTEBOOK_K:
        from retrieval.reporting.text.notebook import Curves, notebook_json, notebook_text

        curves = Curves.from_manifest(bundle.manifest.training)
        document["notebook"] = notebook_json(report, curves)
        text = f"{notebook_text(report, curves)}\n\n{text}"
    more = "" if whole else f"\n\n{bundle.folder / 'report.html'} shows every figure; --full prints them."
    click.echo(json.dumps(document) if as_json else f"{text}{more}")
