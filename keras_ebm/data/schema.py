"""What the columns of a table mean."""

from __future__ import annotations

import dataclasses
from typing import Any

KINDS = ("numeric", "categorical", "boolean")
#: What stands for "no value" in tables written before a schema said so itself.
EARLIER_MISSING = ("", "NA", "N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")
#: What stands for "no value" in a cell: these words, as pandas takes them, of R's
#: tables, of spreadsheets and of databases. `?`, `-` and `.` are not among them.
MISSING = (
    *EARLIER_MISSING,
    "n/a",
    "#N/A",
    "#N/A N/A",
    "#NA",
    "-NaN",
    "-nan",
    "1.#IND",
    "-1.#IND",
    "1.#QNAN",
    "-1.#QNAN",
)


@dataclasses.dataclass(frozen=True)
class Column:
    """One feature of a table.

    Args:
        name: str, as in the file's header.
        kind: `"numeric"`, `"categorical"` or `"boolean"`: two categories such as
            false and true, whose letters may be large or small.
        vocabulary: tuple of str. The categories; a cell holds the position of
            its category in here. Empty for a numeric column.
        wide: bool, whether its numbers are kept and served as float64, as float32
            would merge them; see `keras_ebm.precision.float32_merges`.

    Raises:
        ValueError: if `kind` is none of the three.
    """

    name: str
    kind: str
    vocabulary: tuple[str, ...] = ()
    wide: bool = False

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(
                f"`kind` must be one of {KINDS}. Received: kind={self.kind!r} "
                f"for column {self.name!r}."
            )


@dataclasses.dataclass(frozen=True)
class TableSchema:
    """The columns of a table, in order, and the classes of its target.

    Args:
        columns: tuple of `Column`, the target not among them.
        target: str or `None`, the column that holds the class.
        class_names: tuple of str; a label is a position in here.
        missing: tuple of str, the texts that are missing values. The empty one is
            among them whether it is given or not.
    """

    columns: tuple[Column, ...]
    target: str | None = None
    class_names: tuple[str, ...] = ()
    missing: tuple[str, ...] = MISSING

    def __post_init__(self):
        words = tuple(self.missing)
        words = words if "" in words else ("", *words)
        object.__setattr__(self, "missing", words)

    def to_config(self) -> dict[str, Any]:
        """Returns the schema as a dict that JSON can hold."""
        return {
            "columns": [
                {
                    "name": column.name,
                    "kind": column.kind,
                    "vocabulary": list(column.vocabulary),
                    # Left out where it is false, as in files of earlier versions.
                    **({"wide": True} if column.wide else {}),
                }
                for column in self.columns
            ],
            "target": self.target,
            "class_names": list(self.class_names),
            "missing": list(self.missing),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TableSchema:
        """Builds the schema that `to_config` described, now or before `missing`."""
        columns = tuple(
            Column(
                entry["name"],
                entry["kind"],
                tuple(entry["vocabulary"]),
                entry.get("wide", False),
            )
            for entry in config["columns"]
        )
        return cls(
            columns,
            config["target"],
            tuple(config["class_names"]),
            tuple(config.get("missing", EARLIER_MISSING)),
        )
