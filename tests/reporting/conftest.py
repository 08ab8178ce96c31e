"""Reports as users get them."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def quick_reports() -> None:
    """Pictures are looked at here: nothing is left out."""
