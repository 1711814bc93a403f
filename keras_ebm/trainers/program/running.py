"""Runs a program's `main`, and says in one line why it came to no end."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from absl import app, logging

from keras_ebm.arguments import listed
from keras_ebm.trainers.program import flag_errors, help, imports, options, stopping
from keras_ebm.trainers.program.errors import disk_error, is_of_a_disk, usage_errors
from keras_ebm.trainers.program.options import RULES


def run_program(main: Callable, define: Callable | None = None) -> None:
    """Runs `main(argv)`, and says in one line on stderr why it came to no end.

    Args:
        main: callable on what of the arguments is no flag.
        define: callable on all arguments that defines the flags and returns the
            presets whose values `--help` shows, or None where there is nothing to
            define.

    The exit status is then 2 for a usage error, 1 for a file that cannot be written or
    read, 130 for Ctrl-C and 143 for SIGTERM.
    """

    def refuse(argv, error, status=2):
        message = " ".join(str(error).split())
        sys.stderr.write(f"{Path(argv[0]).stem}: error: {message}\n")
        sys.exit(status)

    def parse(argv):
        presets = define(argv) if define is not None else None
        if help.is_asked_for(argv):
            preset = options.peek(argv, "preset")["preset"]
            print(help.text(preset, (presets or {}).get(preset)), end="")
            sys.exit()
        try:
            return flag_errors.parse(argv, RULES)
        except app.UsageError as error:
            refuse(argv, error)

    def written(message, category, *where, **line):
        if category is UserWarning:
            return f"{Path(sys.argv[0]).stem}: warning: {message}\n"
        return write_plainly(message, category, *where, **line)

    write_plainly, warnings.formatwarning = warnings.formatwarning, written

    def guarded(argv):
        logging.set_verbosity(logging.WARNING)
        tf.get_logger().setLevel("WARNING")
        stopping.install()
        try:
            if len(argv) > 1:
                raise app.UsageError(
                    "Arguments must be flags, as --name=value. Received: "
                    f"{listed(map(repr, argv[1:]))[:1000]}; {flag_errors.HELP}."
                )
            with usage_errors():
                imports.import_modules()
            main(argv)
        except app.UsageError as error:
            refuse(argv, error)
        except (OSError, tf.errors.OpError) as error:
            if not is_of_a_disk(error):
                raise
            refuse(argv, disk_error(error), 1)
        except KeyboardInterrupt as error:
            stopping.leave(error, name=Path(argv[0]).stem)
        finally:
            # What is left to do is not worth a traceback.
            stopping.ignore()

    app.run(guarded, flags_parser=parse)
