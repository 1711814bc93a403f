"""The files of a trial: its flags, its values, and what it came to."""

import dataclasses
import shutil
from pathlib import Path

from keras_ebm import files
from keras_ebm.trainers.program import json_files, options
from keras_ebm.trainers.run import backup
from keras_ebm.trainers.search.task import Task

#: In a trial's folder, that of the training, and in that what it was and came to.
RUN = "run"
VALUES_FILE = "values.json"
RESULT_FILE = "result.json"
#: Of a trial's file that cannot be read.
REMEDY = "remove the trial's folder `run`, which trains it again, or restore the file"
#: Of a trial's flags, those that a new run does not inherit.
_OWN = {"resume", "auto_resume", "dry_run", "verbose"}


def read_result(folder: Path) -> dict:
    """What a trial came to: its measures, `steps`, `seconds`, or `reason`; or {}."""
    path = folder / RESULT_FILE
    if not path.is_file():
        return {}
    result = json_files.read_shaped(path, {}, REMEDY)
    shape = {"reason": str} if "reason" in result else {"steps": int}
    json_files.check_shape(path, result, {**shape, "seconds": (int, float)}, REMEDY)
    return result


def read_values(folder: Path) -> dict:
    """The values of a trial's parameters, by name."""
    return json_files.read_shaped(folder / VALUES_FILE, {}, REMEDY)


def remove_backups(folder: Path) -> None:
    """Removes from a run folder what it could go on from."""
    backup.clear(backup.backup_folder(folder))
    shutil.rmtree(folder / backup.BEST, ignore_errors=True)


def write_flags(path: Path, task: Task, values: dict, workdir) -> None:
    """Writes a trial as a `--flagfile` of `train-vera` or `train-langevin`."""
    lines = []
    for settings in (task.run.settings, *task.settings(values, workdir)):
        for field in dataclasses.fields(settings):
            value = getattr(settings, field.name)
            if value is not None and field.name not in _OWN:
                lines.append(f"--{options.flag_name(field)}={_text(value)}")
    files.write_text(path, "\n".join(lines) + "\n")


def _text(value):
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
