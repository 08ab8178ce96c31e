"""Opens bundles of an earlier format, in order to convert them; see `pipeline.upgrade`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.bundles import layout
from retrieval.bundles.bundle import Bundle
from retrieval.bundles.current import BUILDS
from retrieval.bundles.fitted_system_files import MADE_WITH
from retrieval.bundles.layout import EVALUATED, MANIFEST, MODEL, SERVED
from retrieval.bundles.manifest import OLDER_VERSIONS, Manifest
from retrieval.disk import check_folder, read_plain_file


@dataclass(frozen=True)
class OlderBundle(Bundle):
    """A bundle of one of `OLDER_VERSIONS`, read as if it were of today's: what its files lack is added.

    Its files are checked by size and SHA-256 as those of any bundle are.
    """

    @property
    def version(self) -> int:
        """Its format."""
        return int(self.manifest.document["format_version"])

    def json(self, name: str) -> Any:
        """As `Bundle.json`; a model.json gets the digests of its system's other files."""
        document = super().json(name)
        part, _, file = name.partition("/")
        if part not in (SERVED, EVALUATED) or file != MODEL or not isinstance(document, dict):
            return document
        made_with = {
            each: entry.sha256
            for each, entry in self.manifest.files.items()
            if each.startswith(f"{part}/") and each not in (name, *layout.OF_EVALUATION)
        }
        return document | {MADE_WITH: made_with}


def open_older(artifacts: Path, name: str) -> OlderBundle:
    """Open a bundle of an earlier format by its name.

    Raises:
        ArtifactError: if its manifest is missing, damaged, or of a format that cannot be converted.
    """
    folder = artifacts / BUILDS / name
    for each in (artifacts / BUILDS, folder):
        check_folder(each)
    path = folder / MANIFEST
    return OlderBundle(folder, Manifest.parse(read_plain_file(path, None), path, OLDER_VERSIONS))
