"""Converts a bundle of an earlier format: a new bundle beside it, with what the old one lacks."""

from collections.abc import Callable
from pathlib import Path

from retrieval.bundles.fitted_system_files import read_system
from retrieval.bundles.layout import EVALUATED, MODEL, SERVED, VALIDATION
from retrieval.bundles.older import open_older
from retrieval.bundles.writer import new_bundle
from retrieval.evaluation.from_bundle import measure_validation
from retrieval.pipeline.save import validation_score


def upgrade(artifacts: Path, name: str, before: Callable[[], None] = lambda: None) -> Path:
    """Convert a bundle of an earlier format; returns the folder of the new bundle.

    The old bundle stays as it is. The new one takes its place in the `current` file: it is served where the
    old one was current, and `rollback` returns to it where the old one was served before.

    Args:
        name: of the bundle, in full.
        before: called when only the last step is left.

    Raises:
        ArtifactError: if the bundle is damaged, or of a format that is current or cannot be converted.
        EnvironmentProblem: if the folder cannot be written, or a build is running there.
    """
    open_older(artifacts, name)  # raises before anything is written
    with new_bundle(artifacts) as writer:
        bundle = open_older(artifacts, name)
        for part in (SERVED, EVALUATED):
            read_system(bundle, part)
        ndcg = measure_validation(bundle)
        for file in bundle.manifest.files:
            if file in (f"{SERVED}/{MODEL}", f"{EVALUATED}/{MODEL}"):
                writer.write_json(file, bundle.json(file))
            else:
                writer.write(file, bundle.read(file))
        writer.write_array(VALIDATION, ndcg)
        made_of = {"name": name, "format_version": bundle.version, "created": bundle.manifest.created}
        description = bundle.manifest.description
        description |= {"validation": validation_score(ndcg), "gate": None, "upgraded": made_of}
        before()
        return writer.publish(description, replaces=name)
