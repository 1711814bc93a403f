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
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def kill_after(process, count):
    """Kills a program, with no chance to clean up, after it printed `count` epochs."""
    for line in process.stdout:
        count -= line.startswith("Epoch ")
        if not count:
            break
    process.kill()
    process.communicate(timeout=60)
