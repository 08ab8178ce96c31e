"""Searches by coverage, with atheris, for bytes that break the readers of tables or bundles.

The bytes are given as tables, or as files of a bundle whose digests are made right. `fuzz_targets.py` says
what must hold. Run it from the checkout, with the extra `fuzz`:

    python scripts/fuzz.py readers --minutes 10
    python scripts/fuzz.py manifest --minutes 10
    python scripts/fuzz.py readers --again findings/readers-0123456789ab
"""

import gzip
import hashlib
import io
import os
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import click

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "data" / "sample" / "ratings.csv"
INSTRUMENTED = [
    "retrieval.data.reading",
    "retrieval.data.interactions",
    "retrieval.bundles.bundle",
    "retrieval.pipeline.save",
]
LONGEST = 65_536  # bytes of an input
SEED_LINES = 40
SECONDS_EACH, MEGABYTES = 30, 4096  # beyond which atheris ends the process, with a finding
ENVIRONMENT = 6  # exit code where an extra is not installed


@dataclass
class Search:
    """Calls one target with one input after the other, and continues after a finding.

    Attributes:
        target: the function that must not raise.
        output: folder of findings.
        found: the files of the inputs, by the error and the place it was raised at.
    """

    name: str
    target: Callable[[bytes], object]
    output: Path
    seconds: float
    executions: int = 0
    started: float = field(default_factory=time.monotonic)
    found: dict[str, Path] = field(default_factory=dict)

    def __call__(self, data: bytes) -> None:
        """Try one input, and end the process when the time is over."""
        if time.monotonic() - self.started >= self.seconds:
            self.finish()
        self.executions += 1
        try:
            self.target(data)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of polars is no Exception
            self._keep(data, error)

    def finish(self) -> None:
        """Print what was found and end the process, since atheris never returns."""
        seconds = time.monotonic() - self.started
        names = "".join(f" {path}" for path in self.found.values())
        count = f"{len(self.found)} new finding{'' if len(self.found) == 1 else 's'}"
        print(f"{self.name}: {self.executions:,} executions in {seconds:.0f} s, {count}{names}", flush=True)
        os._exit(1 if self.found else 0)

    def _keep(self, data: bytes, error: BaseException) -> None:
        where = _last_place(error.__traceback__)
        key = f"{type(error).__name__} at {where}"
        if key in self.found:
            return
        self.output.mkdir(parents=True, exist_ok=True)
        path = self.output / f"{self.name}-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        self.found[key] = path
        print(f"{path}: {key}: {str(error)[:300]!r}", file=sys.stderr, flush=True)


def _last_place(where: TracebackType | None) -> str:
    """The file and line of our code nearest to where the error was raised."""
    frames = traceback.extract_tb(where)
    parts = [str(ROOT / part) for part in ("retrieval", "index", "scripts")]
    ours = [frame for frame in frames if frame.filename.startswith(tuple(parts))]
    last = (ours or frames)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def readers(work: Path, corpus: Path) -> Callable[[bytes], object]:
    """The first byte chooses the reader; the others are the file."""
    from fuzz_targets import READERS, read_table

    from retrieval.data.interactions import read_interactions

    ratings = b"".join(SAMPLE.read_bytes().splitlines(keepends=True)[:SEED_LINES])
    movies = b"".join(SAMPLE.with_name("movies.csv").read_bytes().splitlines(keepends=True)[:SEED_LINES])
    (work / "ratings.csv").write_bytes(ratings)
    dat = read_interactions(work / "ratings.csv").frame.write_csv(include_header=False)
    # Parquet is left out: polars ends the process when a page asks for more memory than there is, and a
    # flipped bit can make it ask.
    files = {
        "csv": ratings,
        "movies": movies,
        "dat": dat.replace(",", "::").encode(),
        "data": dat.replace(",", "\t").encode(),
        "inter": b"user_id:token\titem_id:token\trating:float\n1\t2\t3\n2\t3\t4.5\n",
        "item": b"1|Toy Story (1995)|01-Jan-1995||http://x|0|0|1|1\n2|Heat|||http://y|0|1|0|0\n",
        "users": b"1::F::1::10::48067\n2::M::56::16::70072\n",
        "user": b"1|24|M|technician|85711\n2|53|F|other|94043\n",
        "utf16": ratings[:400].decode().encode("utf-16"),
        "quotes": b'user,item,rating\n"a,b","say ""x""",3\n5" disk,2,4\n',
    }
    files |= {"gz": gzip.compress(ratings), "zip": _zipped("ml/ratings.csv", ratings)}
    for name, data in files.items():
        for case in range(len(READERS)):
            (corpus / f"{name}-{case}").write_bytes(bytes([case]) + data)
    return lambda data: read_table(data[0] if data else 0, data[1:], work)


def _zipped(member: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, data)
    return buffer.getvalue()


def manifest(work: Path, corpus: Path) -> Callable[[bytes], object]:
    """The first byte chooses a file of a small bundle; the others replace it, and digests are made right."""
    from fuzz_targets import Forge, small_bundle

    forge = Forge(small_bundle(work))
    for number, name in enumerate(forge.names):
        (corpus / name.replace("/", "-")).write_bytes(bytes([number]) + forge.content(name))

    def target(data: bytes) -> object:
        return forge.open(forge.names[(data[0] if data else 0) % len(forge.names)], data[1:])

    return target


MINUTES = click.FloatRange(min=0, min_open=True, max=1e6)
TARGETS = {"readers": readers, "manifest": manifest}


def mutated(data: bytes, longest: int, seed: int) -> bytes:
    """Mutate as libFuzzer does, or, half of the time, to nearly right documents and arrays."""
    import atheris
    from fuzz_mutations import mutated_array, mutated_json

    if seed % 2 == 0 or len(data) < 2:
        return bytes(atheris.Mutate(data, longest))
    mutate = mutated_array if data[1:7] == b"\x93NUMPY" else mutated_json
    return (data[:1] + mutate(data[1:], seed))[:longest]


@click.command()
@click.argument("what", type=click.Choice(list(TARGETS)))
@click.option("--minutes", type=MINUTES, default=10.0, show_default=True)
@click.option("--seed", type=click.IntRange(min=1, max=2**31 - 1), help="Seed of the search.  [default: any]")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("findings"),
    show_default=True,
    help="Folder of findings.",
)
@click.option(
    "--again",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Try this one input, with its traceback.",
)
def main(what: str, minutes: float, seed: int | None, output: Path, again: Path | None) -> None:
    """Search for bytes that WHAT neither reads nor refuses in one line; exit with 1 if there are any."""
    try:
        import atheris
    except ImportError:
        click.echo("error: atheris is missing: pip install -e '.[fuzz]', with Python 3.11 or 3.12", err=True)
        sys.exit(ENVIRONMENT)
    with atheris.instrument_imports(include=INSTRUMENTED):
        import fuzz_targets  # noqa: F401
    with tempfile.TemporaryDirectory() as folder:
        work, corpus = Path(folder) / "work", Path(folder) / "corpus"
        work.mkdir()
        corpus.mkdir()
        target = TARGETS[what](work, corpus)
        if again is not None:
            target(again.read_bytes())
            click.echo(f"{again}: an answer, or an error of one line")
            return
        output.mkdir(parents=True, exist_ok=True)
        _search(Search(what, target, output, 60 * minutes), corpus, seed)


def _search(search: Search, corpus: Path, seed: int | None) -> None:
    """Never returns: `Search.finish` ends the process, or atheris where an input hangs or takes gigabytes."""
    import atheris

    flags: dict[str, Any] = {
        "max_len": LONGEST,
        "timeout": SECONDS_EACH,
        "rss_limit_mb": MEGABYTES,
        "artifact_prefix": f"{search.output}/{search.name}-",
        "print_final_stats": 0,
        "verbosity": 0,
    }
    if seed is not None:
        flags["seed"] = seed
    arguments = [sys.argv[0], *(f"-{name}={value}" for name, value in flags.items()), str(corpus)]
    own = {"custom_mutator": mutated} if search.name == "manifest" else {}
    atheris.Setup(arguments, search, **own)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
