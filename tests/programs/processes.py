"""Programs that tests interrupt and kill, or start on several workers."""

import json
import os
import signal
import socket
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start_worker(program, index, ports, *flags):
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    task = {"type": "worker", "index": index}
    config = json.dumps({"cluster": cluster, "task": task})
    return subprocess.Popen(
        [sys.executable, "-m", program, *flags, "--strategy=multiworker"],
        cwd=ROOT,
        env={**os.environ, "TF_CONFIG": config},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def together(program, *flags):
    """Exit codes and outputs of two workers."""
    ports = free_ports(2)
    workers = [start_worker(program, i, ports, *flags) for i in range(2)]
    outputs = [worker.communicate(timeout=280) for worker in workers]
    return [worker.returncode for worker in workers], outputs


def interrupt(process, beginning):
    """Sends Ctrl-C once the program prints a line that begins so."""
    for line in process.stdout:
        if line.startswith(beginning):
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate(timeout=280)
    return process.returncode, err


def kill_after(process, count):
    """Kills a program, with no chance to clean up, after it printed `count` epochs."""
    for line in process.stdout:
        count -= line.startswith("Epoch ")
        if not count:
            break
    process.kill()
    process.communicate(timeout=280)


def kill_together(program, count, *flags):
    """Kills two workers after the first printed `count` epochs."""
    ports = free_ports(2)
    workers = [start_worker(program, i, ports, *flags) for i in range(2)]
    kill_after(workers[0], count)
    workers[1].kill()
    workers[1].communicate(timeout=280)


# Runs a program in which the N-th call of a function kills the process.
DIE = """
import functools, importlib, os, runpy, signal, sys
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
"""


def kill_at(place, calls, program, *flags):
    """Kills a program as it enters a function, `MODULE:NAME`, for the n-th time."""
    done = subprocess.run(
        [sys.executable, "-c", DIE, program, place, str(calls), *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
