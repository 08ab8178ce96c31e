import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from retrieval.data.items import ItemTable, find_items_beside, read_items
from retrieval.data.reading.columns import ColumnNames
from retrieval.errors import DataError
from tests.support.archives import zipped

TOY_STORY = "1|Toy Story (1995)|01-Jan-1995||http://x|" + "|".join(
    "1" if name in (3, 4, 5) else "0" for name in range(19)
)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_movies_dat_in_latin_1(tmp_path: Path) -> None:
    text = "1::Toy Story (1995)::Animation|Children's|Comedy\n73::Misérables, Les (1995)::Drama\n"
    items = read_items(write(tmp_path / "movies.dat", text.encode("latin-1")))
    assert items.titles_for([73, 1, 2]) == ["Misérables, Les (1995)", "Toy Story (1995)", None]
    assert items.genres_for([1, 2]) == [["Animation", "Children's", "Comedy"], []]


def test_movies_dat_in_utf_8_is_not_taken_for_latin_1(tmp_path: Path) -> None:
    items = read_items(write(tmp_path / "movies.dat", "73::Misérables, Les::Drama\n"))
    assert items.titles_for([73]) == ["Misérables, Les"]


def test_u_item_with_the_genres_of_movielens_100k(tmp_path: Path) -> None:
    items = read_items(write(tmp_path / "u.item", (TOY_STORY + "\n").encode("latin-1")))
    assert items.titles_for([1]) == ["Toy Story (1995)"]
    assert items.genres_for([1]) == [["Animation", "Children's", "Comedy"]]


def test_u_genre_beside_names_the_flags(tmp_path: Path) -> None:
    write(tmp_path / "u.genre", "\n".join(f"G{i}|{i}" for i in reversed(range(19))) + "\n\n")
    assert read_items(write(tmp_path / "u.item", TOY_STORY)).genres_for([1]) == [["G3", "G4", "G5"]]


def test_movies_csv_with_quotes_and_without_genres(tmp_path: Path) -> None:
    text = 'movieId,title,genres\r\n1,"President, The (1995)",Comedy|Drama\r\n2,X,(no genres listed)\r\n'
    items = read_items(write(tmp_path / "movies.csv", text))
    assert items.titles_for([1, 2]) == ["President, The (1995)", "X"]
    assert items.genres_for([1, 2]) == [["Comedy", "Drama"], []]


def test_recbole_items_get_their_year_unless_they_have_one(tmp_path: Path) -> None:
    text = (
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tToy Story\t1995\tAnimation Children's Comedy\n"
        "1412\tLand Before Time III (1995)\tV\tAnimation\n"
        "2\tDone (1996)\t1996\tDrama\n"
        "267\tunkonwn\tunkonwn\tunknown\n"
    )
    items = read_items(write(tmp_path / "ml.item", text))
    titles = ["Toy Story (1995)", "Land Before Time III (1995)", "Done (1996)", "unkonwn"]
    assert items.titles_for([1, 1412, 2, 267]) == titles
    assert items.genres_for([1]) == [["Animation", "Children's", "Comedy"]]


def test_integer_and_text_ids_ask_alike(tmp_path: Path) -> None:
    items = read_items(write(tmp_path / "movies.csv", "item,title\n42,Answer\n7,Seven\n"))
    assert items.frame["item"].dtype == pl.Int64
    assert (
        items.titles_for(np.array([7, 42])) == items.titles_for(np.array(["7", "42"])) == ["Seven", "Answer"]
    )
    assert items.titles_for(["042"]) == [None]


def test_text_ids_stay_text(tmp_path: Path) -> None:
    items = read_items(write(tmp_path / "movies.csv", "item,title\n042,Answer\nblå,Blue\n"))
    assert items.titles_for(["042", "blå", "42"]) == ["Answer", "Blue", None]
    assert items.genres_for(np.array(["blå"])) == [[]]


@pytest.mark.parametrize(
    "header",
    [
        "movieId,title",
        "ITEM_ID;Name",
        "sku|Product Name",
        "isbn,Book-Title",
        "id,original_title",
        "asin,prod_name",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1", "utf-16"])
def test_headers_and_encodings_people_have(tmp_path: Path, header: str, encoding: str) -> None:
    separator = next(sign for sign in ",;|" if sign in header)
    text = f'{header}\r\n7{separator}"Amélie{separator} la"\r\n'
    items = read_items(write(tmp_path / "movies.csv", text.encode(encoding)))
    assert items.frame.rows() == [(7, f"Amélie{separator} la", [])]


def test_titles_are_stripped_and_may_stretch_over_lines(tmp_path: Path) -> None:
    text = 'id,title,year\n1, "A" ,1995\n2,"B\nC",x\n3,,1995\n'
    items = read_items(write(tmp_path / "movies.csv", text))
    assert items.frame["title"].to_list() == ['"A" (1995)', "B\nC", ""]


def test_the_first_of_two_lines_for_an_item_counts(tmp_path: Path) -> None:
    assert read_items(write(tmp_path / "m.csv", "item,title\n1,a\n1,b\n")).titles_for([1]) == ["a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "0 items"),
        ("item,title\n", "0 items"),
        ("1::A::Drama\n2::B\n", r"movies.dat:2: expected 3 fields separated by '::', found 2: '2::B'"),
        ("item,title\n,A\n", r"movies.dat:2: item is empty"),
        ('item,title\n1,A\n2,"B\n3,C\n', r"movies.dat:3: a double quote is opened and not closed"),
        ("item,title\n1,A\n,B\n3\n", r"movies.dat:3: item is empty"),
        ("hello\n", "not an items file: begins with 'hello'"),
        ('{"item":\n 1}\n', "not a table of items: this looks like JSON, but not like an object a line"),
        (b"1::A\x81::Drama\n", "byte 0x81 at byte offset 4 is not UTF-8, nor is the file latin-1"),
    ],
)
def test_bad_items_files_say_what_is_wrong(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_items(write(tmp_path / "movies.dat", content))


def test_find_items_beside_takes_the_relative_first(tmp_path: Path) -> None:
    for name in ("movies.dat", "u.item", "movies.csv", "x.item", "y.item"):
        write(tmp_path / name, "")
    pairs = {
        "ratings.dat": "movies.dat",
        "u.data": "u.item",
        "ratings.csv": "movies.csv",
        "x.inter": "x.item",
    }
    for ratings, items in pairs.items():
        assert find_items_beside(tmp_path / ratings) == tmp_path / items
        assert find_items_beside(tmp_path / f"{ratings}.gz") == tmp_path / items


def test_find_items_beside_gives_none_rather_than_a_strangers_file(tmp_path: Path) -> None:
    write(tmp_path / "y.item", "")
    write(tmp_path / "ratings.csv", "")
    assert find_items_beside(tmp_path / "x.inter") is None
    assert find_items_beside(tmp_path / "ratings.csv") is None


def test_find_items_beside_looks_into_a_folder_and_into_a_zip(tmp_path: Path) -> None:
    archive = tmp_path / "ml.zip"
    archive.write_bytes(zipped({"ml/u.data": "1\t1\t5\t0\n", "ml/u.item": TOY_STORY}))
    found = find_items_beside(archive)
    assert found == archive
    assert read_items(archive).titles_for([1]) == ["Toy Story (1995)"]
    (tmp_path / "movies.csv.gz").write_bytes(gzip.compress(b"item,title\n1,a\n"))
    beside = find_items_beside(tmp_path)
    assert beside == tmp_path / "movies.csv.gz"
    assert read_items(beside).titles_for([1]) == ["a"]


def test_a_frame_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="not a table of items"):
        ItemTable(pl.DataFrame({"item": [1]}))


@pytest.mark.parametrize("make", [pl.DataFrame, pd.DataFrame])
def test_a_frame_of_items_is_taken_as_people_have_it(make: Callable[..., Any]) -> None:
    frame = make(
        {
            "movieId": [10, 2],
            "Title": ["Heat (1995)", None],
            "genres": ["Crime|Drama", "(no genres listed)"],
        }
    )
    table = ItemTable.from_frame(frame)
    assert table.titles_for(["10", 2, 3]) == ["Heat (1995)", None, None]
    assert table.genres_for([10, 2, 3]) == [["Crime", "Drama"], [], []]
    lists = make({"item": ["a"], "name": ["Alien"], "genre": [["Horror", "Sci-Fi"]]})
    assert ItemTable.from_frame(lists).genres_for(["a"]) == [["Horror", "Sci-Fi"]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"title": ["Heat"]}, "DataFrame: no item column: found title"),
        ({"item": [], "title": []}, "DataFrame: 0 items"),
    ],
)
def test_a_frame_that_is_no_table_of_items_is_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ItemTable.from_frame(pl.DataFrame(columns))


def years(table: ItemTable) -> list[list[str]]:
    return table.categories["year"].to_list()


def test_the_year_of_an_item_comes_from_wherever_it_stands(tmp_path: Path) -> None:
    late = "2|Twelve (1995) cut|05-Mar-1996||http://y|" + "|".join("0" * 19) + "\n3|?|||http://z|"
    text = TOY_STORY + "\n" + late + "|".join("0" * 19) + "\n"
    table = read_items(write(tmp_path / "u.item", text))
    assert (years(table), table.categories.columns) == ([["1995"], ["1996"], []], ["year"])
    dat = read_items(write(tmp_path / "movies.dat", "1::Heat (1995)::Crime\n2::Heat::Crime\n"))
    assert years(dat) == [["1995"], []]
    csv = "id,title,release_year,release_date\n1,A (1960),1961,1962-01-01\n2,B (1970),V,\n3,C,,1980-02-03\n"
    assert years(read_items(write(tmp_path / "m.csv", csv))) == [["1961"], ["1970"], ["1980"]]


def test_further_columns_are_kept_where_they_are_categorical(tmp_path: Path) -> None:
    rows = "".join(
        f"{item},Film {item},{'en' if item % 3 else 'fr'},"
        f"a{item % 5}|b{item % 7},http://{item},{item % 9}.5,true\n"
        for item in range(70)
    )
    text = "movieId,title,Language,stars,url,price,in_print\n" + rows
    table = read_items(write(tmp_path / "movies.csv", text))
    assert table.category_columns().keys() == {"genre", "language", "stars", "in_print"}
    assert table.categories.row(3) == (["fr"], ["a3", "b3"], ["true"])
    assert table.titles_for([3]) == ["Film 3"]


def test_categories_keep_to_their_items_when_one_is_listed_twice(tmp_path: Path) -> None:
    table = read_items(write(tmp_path / "m.csv", "id,title,kind\n7,a,x\n7,b,y\n3,c,z\n"))
    assert table.ids.to_list() == [7, 3]
    assert table.categories["kind"].to_list() == [["x"], ["z"]]


def test_recbole_tokens_are_one_value_and_a_token_seq_several(tmp_path: Path) -> None:
    text = "item_id:token\tname:token\tcity:token\ttags:token_seq\tw:float\n1\tA\tNew York\tx y\t3\n"
    found = read_items(write(tmp_path / "ml.item", text)).categories
    assert found.to_dicts() == [{"city": ["New York"], "tags": ["x", "y"]}]


@pytest.mark.parametrize("make", [pl.DataFrame, pd.DataFrame])
def test_a_frame_brings_its_categories_and_years(make: Callable[..., Any]) -> None:
    frame = make(
        {
            "item": [1, 2],
            "title": ["Heat", "Alien (1979)"],
            "year": [1995.0, None],
            "kind": [["x", "y"], None],
            "adult": [True, False],
            "odd": [{"a": 1}, {"a": 2}],
        }
    )
    table = ItemTable.from_frame(frame)
    assert table.titles_for([1, 2]) == ["Heat (1995)", "Alien (1979)"]
    assert table.categories.to_dicts() == [
        {"kind": ["x", "y"], "adult": ["true"], "year": ["1995"]},
        {"kind": [], "adult": ["false"], "year": ["1979"]},
    ]


def test_a_column_keeps_the_name_its_table_gives_it(tmp_path: Path) -> None:
    for name, called in (
        ("category", "category"),
        ("Categories", "category"),
        ("genres", "genre"),
        ("class", "genre"),
    ):
        path = tmp_path / "items.csv"
        path.write_text(f"item,title,{name}\n1,A,Shoes\n2,B,Hats\n")
        table = read_items(path)
        assert list(table.category_columns()) == [called]
        assert table.category_columns()[called].to_list() == [["Shoes"], ["Hats"]]
        # A bundle of before calls it genre, and new items of it must be understood.
        assert list(read_items(path, known_columns=["genre"]).category_columns()) == ["genre"]


def test_a_table_without_titles_is_one_of_items_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text("item,colour\n1,red\n2,blue\n3,red\n")
    table = read_items(path)
    assert table.titles_for([1, 2]) == [None, None]
    assert table.category_columns()["colour"].to_list() == [["red"], ["blue"], ["red"]]
    assert table.notes == ("the table of items has no column of titles; `columns.title` names one",)


def test_unusual_names_reach_the_table_of_items(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text("nr;what;title\n1;Heat;x\n2;Alien;y\n")
    with pytest.raises(DataError, match=r"expected .* a header with an item column .*`columns\.item`"):
        read_items(path)
    columns = ColumnNames(item="nr", title="What")
    assert read_items(path, columns=columns).titles_for([1, 2]) == ["Heat", "Alien"]
    frame = pl.DataFrame({"nr": [1], "what": ["Heat"]})
    assert ItemTable.from_frame(frame, columns).titles_for([1]) == ["Heat"]
    # A table that has the usual name instead is read by that.
    assert ItemTable.from_frame(frame.rename({"nr": "item"}), columns).titles_for([1]) == ["Heat"]
    with pytest.raises(DataError, match=r"no column 'name' for `columns\.title`: found nr, what"):
        ItemTable.from_frame(frame, ColumnNames(item="nr", title="name"))


@pytest.mark.parametrize(
    ("cells", "how"),
    [
        (["Drama, Romance", "Drama", "School", "Comedy, Drama"], "separated by ','"),
        (["Drama;Romance", "Drama", "School", "Comedy;Drama"], "separated by ';'"),
        (["['Drama', 'Romance']", "['Drama']", "['School']", "['Comedy', 'Drama']"], "written as a list"),
        (['["Drama", "Romance"]', '["Drama"]', '["School"]', '["Comedy", "Drama"]'], "written as a list"),
    ],
)
def test_the_whole_column_tells_how_several_values_are_separated(cells: list[str], how: str) -> None:
    table = ItemTable.from_frame(pl.DataFrame({"item": [1, 2, 3, 4], "title": [*"abcd"], "genre": cells}))
    genres = [["Drama", "Romance"], ["Drama"], ["School"], ["Comedy", "Drama"]]
    assert table.category_columns()["genre"].to_list() == genres
    assert table.notes == (f"cells of genre hold several values, {how}",)
