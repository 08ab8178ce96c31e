"""The error that every part of `index` raises for input that it refuses."""


class InputError(ValueError):
    """Vectors, queries, rows, settings, a factory string or a file that an index cannot work with.

    A message is one line. The advice is kept apart from it, because it is written for someone who holds an
    index alone: a caller for whom another step is right takes `what` and adds its own.

    Attributes:
        what: what was wrong, where, and what was expected.
        advice: what to do next; None where there is nothing to say beside `what`.

    >>> str(InputError("cut off", "build the index again"))
    'cut off; build the index again'
    """

    def __init__(self, what: str, advice: str | None = None) -> None:
        super().__init__(what, advice)
        self.what = what
        self.advice = advice

    def __str__(self) -> str:
        return self.what if self.advice is None else f"{self.what}; {self.advice}"


def faiss_reason(error: BaseException) -> str:
    """The message of a FAISS exception without C++ signature, path and condition, cut to 160 characters."""
    text = " ".join(str(error).split())
    message = text.rsplit("failed: ", 1)[-1].rsplit(".cpp:", 1)[-1].lstrip("0123456789: ")
    return message[:160] or type(error).__name__
