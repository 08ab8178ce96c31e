"""What `fit` says of the tables: Python warnings without a `progress`, and `report["notes"]` always."""

import json
import warnings
from pathlib import Path

import pandas as pd
import pytest
from small_build import small_settings

from retrieval import Recommender
from retrieval.bundles.bundle import open_bundle, open_folder
from retrieval.bundles.layout import REPORT
from retrieval.bundles.writer import new_bundle
from retrieval.errors import RetrievalNote
from retrieval.evaluation.from_bundle import read_evaluated
from retrieval.progress import NotesAsWarnings
from tests.support.checkout import ROOT
from tests.support.commands import run
from tests.support.recording import Record

SAMPLE = ROOT / "data" / "sample"
NO_RATINGS = (
    "no rating column among user, item, how_good, timestamp: every row counts as a positive; name one with "
    "`columns.rating`"
)
NO_TITLES = "only 0 of 120 items are in the table of items; ids are like 1 here and 'x' there"


@pytest.fixture(scope="module")
def heard() -> tuple[Recommender, list[warnings.WarningMessage]]:
    """A fit of ratings under an unusual name, with a table of other items; and its warnings."""
    ratings = pd.read_csv(SAMPLE / "ratings.csv")
    ratings.columns = pd.Index(["user", "item", "how_good", "timestamp"])
    items = pd.DataFrame({"item": ["x", "y"], "title": ["Ex", "Why"]})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = Recommender.fit(ratings, items=items, settings=small_settings())
    return fitted, [each for each in caught if issubclass(each.category, RetrievalNote)]


def test_each_note_is_one_warning_of_the_line_that_called_fit(
    heard: tuple[Recommender, list[warnings.WarningMessage]],
) -> None:
    texts = [str(each.message) for each in heard[1]]
    assert texts.count(f"DataFrame: {NO_RATINGS}") == texts.count(f"DataFrame: {NO_TITLES}") == 1
    assert {each.filename for each in heard[1]} == {__file__}


def test_the_report_has_the_notes_and_keeps_them_in_the_bundle(
    heard: tuple[Recommender, list[warnings.WarningMessage]], tmp_path: Path
) -> None:
    fitted = heard[0]
    assert fitted.report["notes"] == [NO_RATINGS, NO_TITLES]
    folder = fitted.save(tmp_path)
    assert json.loads((folder / REPORT).read_text())["notes"] == [NO_RATINGS, NO_TITLES]
    assert Recommender.load(tmp_path).report["notes"] == [NO_RATINGS, NO_TITLES]
    assert run("retrieval", "evaluate", "--json", "--artifacts", tmp_path).json["notes"] == [
        NO_RATINGS,
        NO_TITLES,
    ]


def test_a_bundle_from_before_there_were_notes_has_none(artifacts: Path, tmp_path: Path) -> None:
    bundle = open_bundle(artifacts)
    with new_bundle(tmp_path) as writer:
        for name in bundle.manifest.files:
            if name == REPORT:
                document = bundle.json(name)
                del document["notes"]
                writer.write_json(name, document)
            else:
                writer.write(name, bundle.read(name))
        folder = writer.publish(bundle.manifest.description)
    assert read_evaluated(open_folder(folder)).notes == ()


def test_a_progress_receives_the_notes_in_place_of_warnings() -> None:
    ratings = pd.read_csv(SAMPLE / "ratings.csv").drop(columns="rating")
    record = Record()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RetrievalNote)
        fitted = Recommender.fit(ratings, settings=small_settings(), progress=record)
    (note,) = fitted.report["notes"]
    assert note.startswith("no rating column among ")
    assert f"DataFrame: {note}" in record.notes


def test_a_note_that_is_made_an_error_ends_the_fit_before_the_training() -> None:
    ratings = pd.read_csv(SAMPLE / "ratings.csv").drop(columns="rating")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RetrievalNote)
        with pytest.raises(RetrievalNote, match="no rating column"):
            Recommender.fit(ratings, settings=small_settings())


def test_what_an_index_goes_through_is_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NotesAsWarnings().detail("index: IVF8,Flat")
