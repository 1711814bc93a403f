"""Programs that tests interrupt and kill, or start on several workers."""

import json
import signal
import socket

DIE = "tests.programs.die"


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start_workers(start, program, *flags):
    """Starts a program as each of two workers."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    configs = (
        json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        for index in range(2)
    )
    flags = (*flags, "--strategy=multiworker")
    return [start(program, *flags, TF_CONFIG=config) for config in configs]


def together(start, program, *flags):
    """Exit codes and outputs of two workers."""
    workers = start_workers(start, program, *flags)
    outputs = [worker.communicate() for worker in workers]
    return [worker.returncode for worker in workers], outputs


def interrupt(process, beginning):
    """Sends Ctrl-C once the program prints a line that begins so."""
    for line in process.stdout:
        if line.startswith(beginning):
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate()
    return process.returncode, err


def kill_after(process, count):
    """Kills a program, with no chance to clean up, after it printed `count` epochs."""
    for line in process.stdout:
        count -= line.startswith("Epoch ")
        if not count:
            break
    process.kill()
    process.communicate()


def kill_together(start, program, count, *flags):
    """Kills two workers after the first printed `count` epochs."""
    workers = start_workers(start, program, *flags)
    kill_after(workers[0], count)
    workers[1].kill()
    workers[1].communicate()


def kill_at(run, place, calls, program, *flags):
    """Kills a program as it enters a function, `MODULE:NAME`, for the n-th time."""
    code, _, err = run(DIE, program, place, calls, *flags)
    assert code == -signal.SIGKILL, err
