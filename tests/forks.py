"""Programs started as forks of a process that has imported what they import.

Importing TensorFlow takes five seconds, and most runs of these tests less than that.
A fork is a process of its own: its flags, its seeds and its devices are new.
"""

import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT = 300


class Forks:
    """A process that forks; each fork becomes `python -m NAME FLAG...`."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, *question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, name, *flags, **environment):
        """Starts a program; `environment` is in addition to the test's own."""
        return Fork(self, name, flags, {**os.environ, **environment})

    def run(self, name, *flags):
        """Exit code, stdout and stderr of a program that runs to its end."""
        process = self.start(name, *flags)
        out, err = process.communicate()
        return process.returncode, out, err

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Fork:
    """What `subprocess.Popen` gives, of a fork. One that takes too long ends by -14."""

    def __init__(self, forks, name, flags, environment):
        self.forks, self.returncode = forks, None
        self.folder = tempfile.TemporaryDirectory()
        paths = [os.path.join(self.folder.name, name) for name in ("out", "err")]
        os.mkfifo(paths[0])
        Path(paths[1]).touch()
        flags = [str(flag) for flag in flags]
        self.pid = forks.ask("start", name, flags, paths, environment)
        self.stdout, self.stderr = (open(path, encoding="utf-8") for path in paths)

    def communicate(self):
        """What it wrote to stdout and stderr until its end."""
        with self.stdout, self.stderr:
            out = self.stdout.read()
            self.returncode = self.forks.ask("wait", self.pid)
            err = self.stderr.read()
        self.folder.cleanup()
        return out, err

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def main():
    sys.path[0] = str(ROOT)
    # As the programs do, without its start-up chatter.
    from keras_ebm_cli import import_tensorflow

    import_tensorflow()
    import matplotlib  # noqa: F401
    import sklearn.datasets  # noqa: F401

    import keras_ebm.export.common  # noqa: F401
    import keras_ebm.trainers.run.recipes  # noqa: F401
    import keras_ebm.trainers.run.transforms  # noqa: F401

    # Without it each fork takes five seconds more, and nothing else shows that.
    assert "tensorflow" in sys.modules
    # Forks then neither copy nor go through what they share.
    gc.freeze()
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        if what == "start":
            answer = os.fork()
            if not answer:
                become(*arguments)
                return
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(arguments[0], 0)[1])
        print(answer, flush=True)


def become(name, flags, paths, environment):
    signal.alarm(LIMIT)
    # A shell may start the tests with SIGINT ignored, which a child inherits.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in enumerate((os.devnull, *paths)):
        opened = os.open(path, os.O_WRONLY if descriptor else os.O_RDONLY)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdout.reconfigure(line_buffering=True)
    sys.argv = [name, *flags]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
