"""Runs that a benchmark has saved, one file each, and how they spread."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from keras_ebm.trainers.program.json_files import read_json


def read_saved(paths: Iterable[Path]) -> list[dict]:
    """What those of the files hold that are there, in their order."""
    return [read_json(path) for path in paths if path.is_file()]


def spread(values, digits: int = 1) -> str:
    """Mean ± standard deviation, to so many digits behind the point."""
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}"
