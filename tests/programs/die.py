"""Runs a program in which the n-th call of a function kills the process.

python -m tests.programs.die PROGRAM MODULE:NAME N FLAG...
"""

import functools
import importlib
import os
import runpy
import signal
import sys

program, place, calls = sys.argv.pop(1), sys.argv.pop(1), int(sys.argv.pop(1))
module, _, path = place.partition(":")
*owners, name = path.split(".")
owner = functools.reduce(getattr, owners, importlib.import_module(module))
function = getattr(owner, name)


def die(*args, **kwargs):
    global calls
    calls -= 1
    if not calls:
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*args, **kwargs)


setattr(owner, name, die)
runpy.run_module(program, run_name="__main__", alter_sys=True)
