"""What `--help` knows of every program, as JSON: its text, flags and presets.

    python docs/_tools/programs.py > programs.json

Each program is started in a fork of this process, which has imported TensorFlow once,
and goes as far as it knows its own flags. Nothing is written here twice: subjects,
rules and defaults are those that `keras_ebm.trainers.program.help` prints.
"""

import json
import os
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import keras_ebm_cli  # noqa: E402

#: Flags on which the flags of a program depend, and what is said of them.
VARIANTS = {
    "adopt": (["--backbone=body.keras"], "With `--backbone`"),
    "tune": (["--method=chains"], "With `--method=chains`"),
}


def main() -> None:
    keras_ebm_cli.import_tensorflow()
    # What most programs import, so that no fork has to.
    import keras_ebm.export.common  # noqa: F401
    import keras_ebm.trainers.run.transforms  # noqa: F401

    pages = {}
    for name in keras_ebm_cli.PROGRAMS:
        given, title = VARIANTS.get(name, ([], ""))
        pages[name] = {**in_fork(name, []), "title": title}
        if given:
            pages[name]["variant"] = in_fork(name, given)["subjects"]
    json.dump(pages, sys.stdout)


def in_fork(name: str, given: list[str]) -> dict:
    """The answer of `described` in a process of its own, as flags are global."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        # A pipe holds less than an answer: the parent reads while this writes.
        with os.fdopen(write, "w", encoding="utf-8") as file:
            json.dump(described(name, given), file)
            file.flush()
        os._exit(0)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as file:
        text = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status or not text:
        raise SystemExit(f"{name}: its flags could not be read, exit status {status}")
    return json.loads(text)


def described(name: str, given: list[str]) -> dict:
    """Text, subjects with their flags, and presets of a program."""
    from keras_ebm.trainers.program import help, running

    found = {}

    def stop_at_flags(main, define=None):
        del main
        presets = define([name, *given]) if define is not None else None
        subjects = help.described()
        own = {flag.name for flags in subjects.values() for flag in flags}
        found.update(
            text=sys.modules["__main__"].__doc__,
            subjects={k: [f._asdict() for f in v] for k, v in subjects.items()},
            presets={
                preset: {k: help.shown(v) for k, v in values.items() if k in own}
                for preset, values in (presets or {}).items()
            },
        )

    running.run_program = stop_at_flags
    sys.argv = [name, *given]
    runpy.run_module(keras_ebm_cli.PROGRAMS[name], run_name="__main__", alter_sys=True)
    return found


if __name__ == "__main__":
    main()
