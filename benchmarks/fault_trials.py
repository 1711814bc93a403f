"""One kill, full disk or power cut of a job, or many exporters at once."""

import contextlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import fault_disks as disks
from benchmarks.fault_jobs import (
    Export,
    Fault,
    Inputs,
    Job,
    Training,
    check,
    check_version,
    unfinished,
)
from keras_ebm.serving.export import versions
from keras_ebm.trainers.run import backup
from tests.forks import Fork, Forks

PAGE = 4096
NO_ROOM = "No space left on device"
#: How often a kill is tried, as a job may be done before.
ATTEMPTS = 20
#: The share of the time before that the next attempt is made within.
SOONER = 0.7
#: Seconds between two looks at a folder: a small file is written in a few thousandths.
LOOK = 1e-4


@contextlib.contextmanager
def noted(found: list[str]) -> Iterator[None]:
    """Adds the fault that the block finds to a list."""
    try:
        yield
    except (Fault, OSError, ValueError) as error:
        found.append(f"{type(error).__name__}: {error}")


def has_ended(process: Fork) -> bool:
    """Whether a process is a zombie, or not even that."""
    try:
        status = Path(f"/proc/{process.pid}/stat").read_text()
    except OSError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


def wait_until(condition: Callable[[], bool], process: Fork) -> None:
    """Returns as soon as something holds, or a process has ended."""
    while not condition() and not has_ended(process):
        time.sleep(LOOK)


def kill(job: Job, forks: Forks, folder: Path, rng, writing: bool) -> dict:
    """Kills a job once, and starts it again.

    Args:
        job: `Job`.
        forks: `Forks`, which start it.
        folder: to work in, which does not exist.
        rng: `np.random.Generator`, which chooses the moment.
        writing: whether that is while the job writes, else any.

    Returns:
        The moment, what the kill left and the faults found.
    """
    found = kill_in_time(job, forks, folder, rng, writing)
    with noted(found["faults"]):
        job.check_now(folder)
        finish(job, forks, folder)
    return found


def kill_in_time(job: Job, forks: Forks, folder: Path, rng, writing: bool) -> dict:
    """Kills a job before it is done, which may take several attempts; see `kill`."""
    for attempt in range(ATTEMPTS):
        job.begin(folder)
        process, started = forks.start(job.program, *job.flags(folder)), time.time()
        time.sleep(rng.uniform(0, job.seconds * SOONER**attempt))
        if writing:
            wait_until(lambda: any(unfinished(job.writes_in(folder))), process)
            time.sleep(rng.uniform(0, job.writing))
        process.kill()
        seconds = time.time() - started
        process.communicate()
        killed, left = process.returncode == -signal.SIGKILL, len(unfinished(folder))
        if killed and (left or not writing):
            break
        shutil.rmtree(folder)
    else:
        raise Fault(f"{job.name} was never killed in time")
    moment = "while it writes" if writing else "any"
    return {
        "job": job.name,
        "moment": moment,
        "seconds": round(seconds, 3),
        "unfinished": left,
        "faults": [],
    }


def finish(job: Job, forks: Forks, folder: Path) -> None:
    """Runs a job again, which must end as if nothing had happened."""
    code, _, err = forks.run(job.program, *job.flags(folder))
    check(code == 0, f"the same command ends with {code}: {err}")
    job.check_done(folder)


def fill(job: Job, forks: Forks, folder: Path, rng) -> dict:
    """Runs a job on a disk that is too small, and again once the disk has grown.

    Args:
        job, forks: as of `kill`.
        folder: where the disk is mounted, which does not exist.
        rng: `np.random.Generator`, which chooses the size.

    Returns:
        The size, how the job ended and the faults found.
    """
    high = needed(job)
    while True:
        with disks.small_disk(folder) as disk:
            job.begin(disk / "job")
            # In whole pages, as such a disk has them; of none it has no bounds.
            room = max(PAGE, int(rng.uniform(0, high)) // PAGE * PAGE)
            disks.resize(disk, disks.used(disk) + room)
            code, _, err = forks.run(job.program, *job.flags(disk / "job"))
            if code:
                return filled(job, forks, disk, {"room": room, "code": code}, err)
        # There was room enough.
        folder.rmdir()
        high = room


def filled(job: Job, forks: Forks, disk: Path, found: dict, err: str) -> dict:
    """What a job left on a disk that was full, and whether it goes on with room."""
    found = {"job": job.name, **found, "line": err.replace(str(disk), "DISK").strip()}
    found["faults"] = []
    with noted(found["faults"]):
        check(found["code"] in (1, 2), f"ended with {found['code']}")
        check(err.count("\n") == 1 and err.endswith("\n"), f"not one line: {err!r}")
        check(NO_ROOM in err, "the line does not say that the disk is full")
        output = str(job.output(disk / "job"))
        check(output in err, f"the line does not name the output: {err}")
        job.check_now(disk / "job")
        disks.resize(disk, disks.ROOMY)
        finish(job, forks, disk / "job")
    return found


def needed(job: Job) -> int:
    """Bytes of all files that a job leaves, and of as many again that it removes."""
    files = [path for path in job.reference.rglob("*") if path.is_file()]
    return 2 * sum(path.stat().st_size for path in files)


def cut(job: Job, forks: Forks, folder: Path, rng, in_mid_run: bool) -> dict:
    """Cuts the power of a job's disk, and goes on with what is left on it.

    Args:
        job, forks: as of `kill`; in mid run the job must be a `Training`.
        folder: to work in, which does not exist.
        rng: `np.random.Generator`, which chooses the moment of one in mid run.
        in_mid_run: whether it is then, else as the job says that it is done.

    Returns:
        What was reported as written, what a file held that was not synced, and the
        faults found.
    """
    folder.mkdir()
    image, copy = folder / "image", folder / "copy"
    found, epochs = {"job": job.name, "faults": []}, 0
    disks.make_image(image)
    with disks.image_disk(image, folder / "disk") as disk:
        job.begin(disk / "job")
        disks.sync(disk)
        process = forks.start(job.program, *job.flags(disk / "job"))
        if in_mid_run:
            epochs = stop_after(process, job, rng)
        else:
            _, err = process.communicate()
            check(process.returncode == 0, f"{job.name} fails: {err}")
        (disk / "unsynced").write_text(NO_ROOM)
        disks.copy_as_it_is(image, copy)
        if in_mid_run:
            process.kill()
            process.communicate()
    with disks.image_disk(copy, folder / "disk") as disk, noted(found["faults"]):
        found["epochs"] = epochs
        found["unsynced_bytes"] = size_of(disk / "unsynced")
        check_survived(job, disk / "job", epochs)
        finish(job, forks, disk / "job")
    return found


def stop_after(process: Fork, job: Training, rng) -> int:
    """Stops a training, but does not end it, and says how many epochs it reported."""
    last = job.printed.count("Epoch ")
    wanted = int(rng.integers(2, last))
    next(line for line in process.stdout if line.startswith(f"Epoch {wanted}/"))
    process.send_signal(signal.SIGSTOP)
    return wanted - 1


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def check_survived(job: Job, folder: Path, epochs: int) -> None:
    """Raises an error if what was reported as written did not survive a power cut.

    Args:
        job: `Job`.
        folder: its own.
        epochs: that a training reported; 0: the job said that it was done.
    """
    if not epochs:
        job.check_result(folder)
        return
    job.check_now(folder)
    kept = [count for _, count in backup.all_backups(job.writes_in(folder))]
    check(max(kept, default=0) >= epochs, f"backups {kept} of {epochs} epochs")


def export_together(forks: Forks, inputs: Inputs, folder: Path, count: int) -> dict:
    """Lets exporters write into one folder at once."""
    folder.mkdir()
    flags = (f"--model={inputs.model}", f"--calibration={inputs.table}")
    flags = (*flags, "--target_fpr=0.1", f"--output={folder / 'served'}")
    processes = [forks.start(Export.program, *flags) for _ in range(count)]
    outputs = [process.communicate() for process in processes]
    found = {"count": count, "faults": []}
    with noted(found["faults"]):
        for process, (_, err) in zip(processes, outputs, strict=True):
            check(process.returncode == 0, f"ended with {process.returncode}: {err}")
        numbers = sorted(versions(folder / "served"))
        check(numbers == list(range(1, count + 1)), f"versions {numbers}")
        for number in numbers:
            check_version(folder / "served" / str(number), inputs)
        check(not unfinished(folder), "left behind")
    return found
