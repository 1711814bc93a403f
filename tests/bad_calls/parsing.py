"""Many calls of one program, as far as the flags go: `parsing.py PROGRAM CALLS`.

One process parses them all, as a program of its own for each would take a third of a
second. `CALLS` is a JSON file of lists of flags. On standard output comes a JSON list
of `[exit code, standard error]`; the code is None where the program would have begun.
"""

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path

from absl import flags

from trainers import common


def refusals(program: str, calls: list[list[str]]) -> list:
    """What comes of each call of a program, whose `main` is never run."""
    begin, common.run_program = common.run_program, lambda main: None
    runpy.run_module(program, run_name="__main__")
    return [_refusal(program, call, begin) for call in calls]


def _refusal(program: str, call: list[str], begin) -> list:
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    sys.argv = [program.replace(".", "/") + ".py", *call]
    with contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            begin(lambda argv: sys.exit())
        except SystemExit as end:
            return [end.code, err.getvalue()]


if __name__ == "__main__":
    results = refusals(sys.argv[1], json.loads(Path(sys.argv[2]).read_text("utf-8")))
    print(json.dumps(results))
