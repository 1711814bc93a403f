"""Runs a program, and puts another run's files into a run folder after a call.

python -m tests.programs.replace PROGRAM MODULE:NAME FOLDER FLAG...

Once the function returns, the files of FOLDER/other take the places of FOLDER/run's,
as if a run that is written there had ended.
"""

import functools
import importlib
import os
import runpy
import shutil
import sys
from pathlib import Path

program, place, folder = sys.argv.pop(1), sys.argv.pop(1), Path(sys.argv.pop(1))
module, _, name = place.partition(":")
owner = importlib.import_module(module)
function = getattr(owner, name)


@functools.wraps(function)
def replace(*args, **kwargs):
    result = function(*args, **kwargs)
    for file in ("split.npz", "run.json", "model.keras"):
        beside = folder / f"{file}.new"
        shutil.copy(folder / "other" / file, beside)
        os.replace(beside, folder / "run" / file)
    return result


setattr(owner, name, replace)
runpy.run_module(program, run_name="__main__", alter_sys=True)
