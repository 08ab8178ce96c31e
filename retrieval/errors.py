"""The errors a user can meet, each with the exit code the command line ends with.

A message is one line: what was wrong, where, what was expected; then what to do next. The two parts are also
attributes, so that code which knows better advice can give its own. A message names a setting or an argument
in backticks, as Python spells it; the command line shows the flag instead.
Any exception that is not a `RetrievalError` is a bug of ours and shows its traceback.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

# What `str.splitlines` takes for the end of a line: names of files and messages of libraries can hold them.
_LINE_ENDS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# scipy, torch and Python's threads raise a RuntimeError, or another exception, where memory is short.
_NO_MEMORY = re.compile("allocate memory|out of memory|memory error|bad_alloc|can't start new thread", re.I)


class RetrievalError(Exception):
    """Base class; catch it to catch every error that is not a bug.

    Its text is one line, "what; advice". Line ends inside the parts become escapes.

    Attributes:
        what: what was wrong, where, and what was expected.
        advice: what to do next; None where there is nothing to say beside `what`.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, advice: str | None = None) -> None:
        super().__init__(what, advice)
        self.what = _one_line(what)
        self.advice = None if advice is None else _one_line(advice)

    def __str__(self) -> str:
        return self.what if self.advice is None else f"{self.what}; {self.advice}"


class UsageError(RetrievalError):
    """A setting or an argument has a value that cannot work."""

    exit_code = 2


class DataError(RetrievalError):
    """The interactions, items or users cannot be read, split or trained on."""

    exit_code = 3


class ArtifactError(RetrievalError):
    """There is no bundle, or the one there is damaged or of another version."""

    exit_code = 4


class DamagedBundle(ArtifactError):
    """A file of a bundle is not the one that was written, or its parts do not fit together."""

    def __init__(self, what: str, advice: str = "the bundle is damaged, run build-index again") -> None:
        super().__init__(what, advice)


class NotFoundError(RetrievalError):
    """The model does not know a user or an item."""

    exit_code = 5


class EnvironmentProblem(RetrievalError):
    """Disk, memory, lock, network, or an optional package that is not installed."""

    exit_code = 6


class HeldBack(RetrievalError):
    """A build finished and was kept, but not published: it is worse than the served bundle."""

    exit_code = 7


class RetrievalNote(UserWarning):
    """What the user should know about their tables, or about an index; no error.

    `Recommender.fit` warns with it where no `progress` receives its notes.
    """


def lacks_memory(error: BaseException) -> bool:
    """Whether an exception of NumPy, SciPy, torch, FAISS or Python says that memory is short.

    >>> lacks_memory(MemoryError()), lacks_memory(RuntimeError("Memory error in scipy.linalg.inv"))
    (True, True)
    >>> lacks_memory(RuntimeError("mat1 and mat2 cannot be multiplied"))
    False
    """
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    known = isinstance(error, (RuntimeError, ValueError)) and _NO_MEMORY.search(str(error)) is not None
    return isinstance(error, MemoryError) or known


@contextmanager
def memory_named(advice: str) -> Iterator[None]:
    """Turn a lack of memory inside the block into an `EnvironmentProblem` with this advice.

    Raises:
        EnvironmentProblem: in place of whatever exception a library has for it.
    """
    try:
        yield
    except RetrievalError:
        raise
    except Exception as error:
        if not lacks_memory(error):
            raise
        raise EnvironmentProblem("not enough memory", advice) from error


def _one_line(text: str) -> str:
    """The text with its line ends written as escapes."""
    return _LINE_ENDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text.strip())
