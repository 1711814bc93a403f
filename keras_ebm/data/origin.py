"""What messages call a table, and what they advise where it comes from."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Origin:
    """A file or a frame, as errors and notices of its cells speak of it.

    Args:
        name: str, what a message begins with; also what `str` gives.
        leave_out: str, how a column is left out.
        keep_words: str, what to do where a word that is read as missing is a value.
    """

    name: str
    leave_out: str = "by `ignore_columns`"
    keep_words: str = "name those that are none by `missing` (`--missing_words`)"

    def __str__(self) -> str:
        return self.name


#: A frame that an estimator is given.
FRAME = Origin("`X`", "by `X.drop(columns=...)`", "write it otherwise")
