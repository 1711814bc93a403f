"""What stands before and after the colon of a data set's name."""

from typing import NamedTuple


class Spec(NamedTuple):
    """The two parts of a spec: `csv:rows.csv` is `("csv", "rows.csv")`.

    `source` need not be one of `keras_ebm.data.SOURCES`. `name` is None where there is
    no colon.
    """

    source: str
    name: str | None


def parse_spec(spec: str) -> Spec:
    """Takes a spec apart at its first colon; nothing is checked or read."""
    source, colon, name = spec.partition(":")
    return Spec(source, name if colon else None)
