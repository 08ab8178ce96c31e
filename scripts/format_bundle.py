"""Makes the small bundle that tests/bundles/formats keeps of a bundle format.

    python scripts/format_bundle.py tests/bundles/formats/5.zip
    python scripts/format_bundle.py --source ../old-commit tests/bundles/formats/4.zip

The bundle is built on a part of the made-up sample by the package in `--source`, this checkout or that of an
older commit, with this Python. Run it once for each format, before the format is raised; never make an old
one again with newer code.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
USERS, ITEMS = 80, 48  # the first ones of the sample
DATES = (1980, 1, 1, 0, 0, 0)  # of the zip's entries: the same bundle gives the same bytes
FLAGS = (
    *("--ratings", "ratings.csv", "--items", "movies.csv", "--artifacts", "artifacts", "--epochs", "2"),
    *("--dimension", "4", "--members", "1", "--candidates", "20", "--index", "IVF4,Flat"),
    *("--recall-target", "0.5", "--threads", "1", "--seed", "42", "--device", "cpu", "--quiet"),
)


def make(source: Path, target: Path) -> None:
    """Build with the package in `source`, and zip the artifacts folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, columns in (("ratings.csv", (USERS, ITEMS)), ("movies.csv", (ITEMS,))):
            (folder / file).write_text(part_of(ROOT / "data" / "sample" / file, columns))
        command = (sys.executable, "-m", "retrieval", "build-index", *FLAGS)
        environment = os.environ | {"PYTHONPATH": str(source.resolve())}
        # In the folder of the tables, so that the bundle records no path.
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        pack(folder / "artifacts", target)


def part_of(path: Path, most: tuple[int, ...]) -> str:
    """The rows of a CSV file whose first columns, integers, are at most these."""
    header, *lines = path.read_text().splitlines(keepends=True)
    fields = [line.split(",", len(most)) for line in lines]
    kept = [all(int(value) <= limit for value, limit in zip(each, most, strict=False)) for each in fields]
    return header + "".join(line for line, keep in zip(lines, kept, strict=True) if keep)


def pack(artifacts: Path, target: Path) -> None:
    """Zip the `current` file and the bundles, in the order of their names."""
    files = [artifacts / "current", *sorted((artifacts / "builds").rglob("*"))]
    with zipfile.ZipFile(target, "w") as archive:
        for path in filter(Path.is_file, files):
            entry = zipfile.ZipInfo(path.relative_to(artifacts).as_posix(), DATES)
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_LZMA)


def main() -> None:
    """Parse the arguments and make the bundle."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, default=ROOT, help="checkout whose package builds")
    parser.add_argument("target", type=Path, help="the zip file to write")
    arguments = parser.parse_args()
    make(arguments.source, arguments.target)


if __name__ == "__main__":
    main()
