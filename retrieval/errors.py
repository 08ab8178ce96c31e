"""The errors a user can meet, each with the exit code the command line ends with.

A message is one line: what was wrong, where, what was expected and what to do next.
Anything that is not a `RetrievalError` is a bug of ours and shows its traceback.
"""

import re
from typing import ClassVar

# What `str.splitlines` takes for the end of a line: names in files and libraries' messages hold them.
_LINE_ENDS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


class RetrievalError(Exception):
    """Base class; catch it to catch every error that is not a bug.

    Args:
        message: whatever ends a line in it is written as an escape.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str) -> None:
        escaped = _LINE_ENDS.sub(lambda found: found[0].encode("unicode_escape").decode(), message.strip())
        super().__init__(escaped)


class UsageError(RetrievalError):
    """A flag or setting has a value that cannot work."""

    exit_code = 2


class DataError(RetrievalError):
    """The interactions or items cannot be read, split or trained on."""

    exit_code = 3


class ArtifactError(RetrievalError):
    """There is no bundle, or what lies there is damaged or of another version."""

    exit_code = 4


class DamagedBundle(ArtifactError):
    """A file is not the one that was written, or the parts of a bundle do not fit together.

    Args:
        what: where, and what was found and expected.
        advice: what to do next.
    """

    def __init__(self, what: str, advice: str = "the bundle is damaged, run build-index again") -> None:
        super().__init__(f"{what}; {advice}")
        self.what = what


class NotFoundError(RetrievalError):
    """A user or item is unknown to the model."""

    exit_code = 5


class EnvironmentProblem(RetrievalError):
    """Disk, memory, lock, network, or an extra that is not installed."""

    exit_code = 6


class HeldBack(RetrievalError):
    """A build was finished and kept, but not published: it is worse than what answers."""

    exit_code = 7
