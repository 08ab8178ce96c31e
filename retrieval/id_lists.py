"""Lists of ids as people give them: in a flag, or in a file with an id a line."""

from pathlib import Path

from retrieval.errors import DataError


def ids_of_text(text: str) -> list[str]:
    """Ids with commas between them.

    >>> ids_of_text("50, 181,")
    ['50', '181']
    """
    return [part.strip() for part in text.split(",") if part.strip()]


def read_ids(path: Path) -> list[str]:
    """A file with an id a line; blank lines and a byte-order mark are passed over.

    Raises:
        DataError: if it is missing, no file, or not text.
    """
    from retrieval.reading.decoding import to_utf8

    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; give a file with an id a line") from None
    lines = to_utf8(data, str(path))[0].decode().split("\n")
    return [line.strip() for line in lines if line.strip()]
