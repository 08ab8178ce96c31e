"""Types of options: a number of days or none, and a number of bytes with K, M, G or T."""

import re
from typing import Any

import click


class Days(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """A number of days, or none."""

    name = "DAYS|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """As click's float, but "none" is None."""
        if isinstance(value, str) and value.lower() == "none":
            return None
        return float(click.FLOAT.convert(value, param, ctx))


class Bytes(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes, with K, M, G or T for powers of 1,024."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """A whole number of bytes."""
        match = re.fullmatch(
            r"(\d{1,15}(?:\.\d{1,9})?)\s*([KMGT]?)(?:i?B)?", str(value).strip(), re.IGNORECASE
        )
        if match is None:
            self.fail(f"{value!r} is not a size; expected a number such as 500M or 2G", param, ctx)
        return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))
