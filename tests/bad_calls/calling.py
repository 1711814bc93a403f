"""Many bad calls of one program in one process: `calling.py PROGRAM CALLS`.

A process for each would take a second or two. `CALLS` is a JSON file of pairs
`[begins, flags]`: with `begins` false the flags alone are looked at, and the program's
`main` does not run. On standard output comes a JSON list of `[exit code, standard
error]`; the code is None where nothing was refused.
"""

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path

from absl import flags

from keras_ebm.trainers.program import running


def refusals(program: str, calls: list) -> list:
    """What comes of each call of a program."""
    mains = []

    def keep(main, define=None):
        if define is not None:
            define([program])
        mains.append(main)

    begin, running.run_program = running.run_program, keep
    runpy.run_module(program, run_name="__main__")
    stop = [lambda argv: sys.exit(), *mains]
    return [_refusal(program, call, begin, stop[begins]) for begins, call in calls]


def _refusal(program: str, call: list[str], begin, main) -> list:
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    sys.argv = [program.replace(".", "/") + ".py", *call]
    with contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            begin(main)
        except SystemExit as end:
            return [end.code, err.getvalue()]


if __name__ == "__main__":
    results = refusals(sys.argv[1], json.loads(Path(sys.argv[2]).read_text("utf-8")))
    print(json.dumps(results))
