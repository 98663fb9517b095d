"""Records against records: which contacts and accounts of all connections are one customer.

One Fellegi-Sunter model (`model`), trained and run through Splink on DuckDB or Spark (`executor`),
as SQL of its own over the pairs of an increment (`workspace`), and in process for the reasons of a
link (`scoring`); pairs become groups under guards (`clusters`), and groups keep the persons they
had (`persons`). `workspace` is the file that all of it works in.

Splink and DuckDB come with the extra `batch`. Nothing here imports them before it is asked to
work, so that the hub runs without.
"""

from __future__ import annotations

from importlib.util import find_spec

from middleware.domain.problems import NotOfferedError

NEEDED = {
    "batch": ("splink", "duckdb", "rapidfuzz", "anyascii", "nicknames"),
    "spark": ("pyspark",),
}


def require(extra: str = "batch") -> None:
    """Raise NotOfferedError that says what to install, unless the extra's libraries are there."""
    missing = [name for name in NEEDED[extra] if find_spec(name) is None]
    if missing:
        raise NotOfferedError(
            f"resolving records in batch needs {', '.join(missing)}; "
            f"install it with `pip install 'amends[{extra}]'`"
        )
