"""Runs that a benchmark has saved, one file each."""

from collections.abc import Iterable
from pathlib import Path

from trainers.program.json_files import read_json


def read_saved(paths: Iterable[Path]) -> list[dict]:
    """What those of the files hold that are there, in their order."""
    return [read_json(path) for path in paths if path.is_file()]
