"""Publishes a changed catalogue as the next bundle; the evaluated part and its report stay the same."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from retrieval.bundles.bundle import Bundle, read_parquet
from retrieval.bundles.fitted_system_files import read_system, write_system
from retrieval.bundles.layout import ITEMS, SERVED
from retrieval.bundles.manifest import CatalogueChange
from retrieval.bundles.registry import read_current
from retrieval.bundles.writer import BundleWriter, new_bundle, to_parquet
from retrieval.catalogue.change import interactions_of
from retrieval.data.items import ItemTable
from retrieval.serving.fitted_system import FittedSystem


@dataclass(frozen=True)
class Changing:
    """The current bundle of an artifacts folder, locked while it is changed; see `changing_bundle`.

    Attributes:
        bundle: the current bundle.
        system: its served system.
    """

    bundle: Bundle
    system: FittedSystem
    _writer: BundleWriter

    @property
    def changes(self) -> tuple[CatalogueChange, ...]:
        """The changes since the build, first to last."""
        return self.bundle.manifest.changes

    def publish(
        self,
        system: FittedSystem,
        what: dict[str, Any],
        *,
        table: ItemTable | None = None,
        before_publishing: Callable[[], None] = lambda: None,
    ) -> Path:
        """Write the next bundle and make it current; returns its folder. The current one stays as it is.

        The evaluated part and the report are copied as they are.

        Args:
            system: the changed system.
            what: a description of the change, for the manifest.
            table: the new and replaced items, for their genres.
            before_publishing: called when every file is written, just before the bundle becomes current.

        Raises:
            ArtifactError: if a file of the current bundle is damaged.
            EnvironmentProblem: if the folder cannot be written.
        """
        for name in self.bundle.manifest.files:
            if name == ITEMS:
                frame = _item_frame(read_parquet(self.bundle, name), system, table)
                self._writer.write(name, to_parquet(frame))
            elif not name.startswith(f"{SERVED}/"):
                self._writer.write(name, self.bundle.read(name))
        write_system(self._writer, SERVED, system)
        change = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **what}
        before_publishing()
        changes = [*(each.document for each in self.changes), change]
        return self._writer.publish(self.bundle.manifest.description | {"changes": changes})


@contextmanager
def changing_bundle(artifacts: Path) -> Iterator[Changing]:
    """Lock the artifacts folder against builds and other changes, and read its current bundle.

    Raises:
        ArtifactError: if there is no bundle, or it is damaged.
        EnvironmentProblem: if the folder cannot be written, or another process holds it.
    """
    read_current(artifacts, lambda _: None)  # fails before anything is written where there is no bundle
    with new_bundle(artifacts) as writer:
        bundle, system = read_current(artifacts, lambda bundle: (bundle, read_system(bundle, SERVED)))
        yield Changing(bundle, system, writer)


def _item_frame(old: pl.DataFrame, system: FittedSystem, table: ItemTable | None) -> pl.DataFrame:
    """The served items as a table, with the columns of `Build.item_table`."""
    genres = [old.select("item", "genres")]
    if table is not None:
        ids = system.items.ids[system.items.rows(table.ids.to_list())]
        own = pl.DataFrame({"item": ids, "genres": table.frame["genres"]})
        genres.insert(0, own)
    known = pl.concat(genres).unique("item", keep="first")
    items = pl.DataFrame(
        {"item": system.items.ids, "title": system.titles, "interactions": interactions_of(system)}
    )
    joined = items.join(known, on="item", how="left", maintain_order="left")
    return joined.with_columns(pl.col("genres").fill_null([])).select(old.columns)
