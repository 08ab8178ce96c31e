import subprocess
import sys
from pathlib import Path

import pytest

from retrieval.data.interactions import read_interactions
from retrieval.data.items import read_items
from retrieval.errors import DataError
from tests.support.archives import zipped
from tests.support.checkout import ROOT

NAMESPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def sheet(rows: list[list[object]]) -> str:
    cells = ""
    for number, row in enumerate(rows, start=1):
        cells += f'<row r="{number}">'
        for letter, value in zip("ABCDEFG", row, strict=False):
            if isinstance(value, str):
                cells += f'<c r="{letter}{number}" t="inlineStr"><is><t>{value}</t></is></c>'
            elif value is not None:
                cells += f'<c r="{letter}{number}" s="{int(isinstance(value, Day))}"><v>{value}</v></c>'
        cells += "</row>"
    return f'<worksheet xmlns="{NAMESPACE}"><sheetData>{cells}</sheetData></worksheet>'


class Day(float):
    """Days since 1899-12-30, shown as a date."""


def workbook(*sheets: list[list[object]]) -> bytes:
    """The least that is an .xlsx file."""
    numbers = range(1, len(sheets) + 1)
    sheet_type = f"{OFFICE}/worksheet"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r" '
        f'Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{NAMESPACE}" xmlns:r="{OFFICE}"><sheets>'
        + "".join(f'<sheet name="Sheet{n}" sheetId="{n}" r:id="s{n}"/>' for n in numbers)
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
        + "".join(
            f'<Relationship Id="s{n}" Type="{sheet_type}" Target="worksheets/sheet{n}.xml"/>' for n in numbers
        )
        + f'<Relationship Id="t" Type="{OFFICE}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": f'<styleSheet xmlns="{NAMESPACE}"><cellXfs count="2"><xf numFmtId="0"/>'
        '<xf numFmtId="22"/></cellXfs></styleSheet>',
    }
    parts |= {f"xl/worksheets/sheet{n}.xml": sheet(rows) for n, rows in zip(numbers, sheets, strict=True)}
    return zipped(parts)


ROWS: list[list[object]] = [
    ["user", "item", "rating", "time", "empty"],
    [1, "a", 3.5, Day(36892.5), None],
    [2, "b", 4, Day(36893), None],
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    pytest.importorskip("fastexcel")
    return tmp_path / "r.xlsx"


def test_the_first_sheet_is_the_table(path: Path) -> None:
    path.write_bytes(workbook(ROWS, [["x"]]))
    found = read_interactions(path)
    assert found.frame.rows() == [(1, "a", 3.5, 978350400), (2, "b", 4.0, 978393600)]
    assert found.notes == (
        "only the first of 2 sheets was read, 'Sheet1'",
        "timestamps name no time zone: taken as UTC",
    )
    assert found.columns_found == ("user", "item", "rating", "time", "empty")


def test_blank_rows_are_left_out(path: Path) -> None:
    path.write_bytes(workbook([ROWS[0], [], ROWS[1], [None, None], ROWS[2], []]))
    assert read_interactions(path).frame["user"].to_list() == [1, 2]


def test_ids_of_numbers_and_text_are_text(path: Path) -> None:
    path.write_bytes(workbook([["user", "item"], [1, 7], ["x", 8]]))
    assert read_interactions(path).frame.rows() == [("1", 7), ("x", 8)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            workbook([*ROWS, [3, "c", "good", Day(36893)]]),
            r"row 2 below the header \(counted from 0\): rating 'good'",
        ),
        (workbook(ROWS[:1]), "0 interactions"),
        (workbook([]), "0 rows: the first sheet, 'Sheet1', is empty"),
        (workbook([["a", "b"], [1, 2]]), "no user column: found a, b"),
        (workbook(ROWS)[:-40], "cannot be read"),
    ],
)
def test_bad_workbooks_are_one_line(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_interactions(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_damaged_workbook_is_one_line(path: Path) -> None:
    path.write_bytes(zipped({"xl/workbook.xml": "<x>"}))
    with pytest.raises(DataError, match=r"r.xlsx: a damaged workbook: .*; save it again$"):
        read_interactions(path)


def test_items_are_read_from_a_workbook(path: Path) -> None:
    path.write_bytes(workbook([["item", "title"], [1, "A"], [2, "B"]]))
    assert read_items(path).titles_for([2, 1]) == ["B", "A"]


def printed(code: str) -> str:
    """What a fresh interpreter prints, nothing of it on stderr."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr == ""
    return done.stdout


def test_an_empty_column_is_no_reason_to_write_to_stderr(path: Path) -> None:
    path.write_bytes(workbook(ROWS))
    code = f"""
from pathlib import Path
from retrieval.data.interactions import read_interactions
print(len(read_interactions(Path({str(path)!r}))))
"""
    assert printed(code) == "2\n"


def test_without_the_optional_package_the_command_that_installs_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.xlsx"
    path.write_bytes(workbook(ROWS))
    code = f"""
import sys
sys.modules["fastexcel"] = None
from pathlib import Path
from retrieval.errors import EnvironmentProblem
from retrieval.data.interactions import read_interactions
try:
    read_interactions(Path({str(path)!r}))
except EnvironmentProblem as problem:
    print(problem.exit_code, problem)
"""
    assert printed(code) == (
        f"6 {path}: an Excel workbook, which needs an optional package: "
        "pip install fastexcel; or save the sheet as CSV\n"
    )
