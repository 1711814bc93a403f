r"""Kills, full disks, power cuts and exporters at once: what is left of the files.

Four jobs are disturbed: a training (`trainers.likelihood`), one with a backup after
every step (`trainers.vera`), `export.classifier` and `export.predict`. They are killed
by SIGKILL, at any moment or while a file is being written; they meet disks that are too
small; the power of their disk is cut; and ten exporters write into one folder at once.
Each time nothing half may be visible, what was there before is whole, and the same
command then ends as if nothing had happened: with the same weights to the bit, history,
answers and files, and nothing left behind. From the top of the checkout:

    python -m benchmarks.faults --output=benchmarks/results/faults

and `--table` prints the table. A run that was stopped goes on where it was. Disks are
mounted in a mount namespace of its own, where the user may; else their part is left
out, and a line says why. The exit status is 1 if there was a fault.
"""

import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.fault_disks import CannotMount
from benchmarks.fault_jobs import (
    JOBS,
    Backup,
    Export,
    Inputs,
    Job,
    Training,
    make_inputs,
)
from benchmarks.fault_trials import cut, export_together, fill, kill
from benchmarks.machine import machine
from benchmarks.saved import read_saved
from keras_ebm.trainers.program import folders, json_files, options, running
from keras_ebm.trainers.program.options import setting
from tests.forks import Forks

#: Said to the program that starts itself anew where mounts are its own.
OWN_MOUNTS = "KERAS_EBM_OWN_MOUNTS"
#: What is cut when, and whether that is in mid run.
CUTS = (
    ("as an export says it is done", Export, False),
    ("as a run says it is done", Training, False),
    ("in mid run", Backup, True),
)


@dataclasses.dataclass(frozen=True)
class FaultSettings(options.Checked):
    """How many faults, and where what they found goes."""

    output: str = setting("", "Folder of the results.")
    seed: int = setting(0, "Of the moments and sizes.", **options.SEED)
    kills: int = setting(50, "Processes that are killed.", low=0)
    disks: int = setting(20, "Disks that are too small.", low=0)
    cuts: int = setting(3, "Power cuts.", low=0)
    exporters: int = setting(10, "Exporters at once.", low=0)
    table: bool = setting(False, "Print the table of what is there.")


@dataclasses.dataclass(frozen=True)
class Suite:
    """What a fault needs: the jobs in `JOBS`' order, and an own folder."""

    settings: FaultSettings
    forks: Forks
    inputs: Inputs
    jobs: list[Job]
    folder: Path

    def job(self, number: int) -> Job:
        """Each job in turn."""
        return self.jobs[number % len(self.jobs)]


def one_kill(suite: Suite, number: int, rng) -> dict:
    """In every second round the jobs are killed while they write."""
    job, folder = suite.job(number), suite.folder / f"kill-{number}"
    writing = number // len(JOBS) % 2 == 1 or isinstance(job, Backup)
    return kill(job, suite.forks, folder, rng, writing)


def one_disk(suite: Suite, number: int, rng) -> dict:
    folder = suite.folder / f"disk-{number}"
    return fill(suite.job(number), suite.forks, folder, rng)


def one_cut(suite: Suite, number: int, rng) -> dict:
    moment, kind, in_mid_run = CUTS[number % len(CUTS)]
    job, folder = suite.jobs[JOBS.index(kind)], suite.folder / f"cut-{number}"
    return {"moment": moment, **cut(job, suite.forks, folder, rng, in_mid_run)}


def all_exporters(suite: Suite, number: int, rng) -> dict:
    del rng
    folder, count = suite.folder / f"together-{number}", suite.settings.exporters
    return export_together(suite.forks, suite.inputs, folder, count)


PARTS = {
    "kills": one_kill,
    "disks": one_disk,
    "cuts": one_cut,
    "exporters": all_exporters,
}


def measure(settings: FaultSettings, results: Path) -> None:
    """Does what the settings ask for and a folder of results does not hold.

    Each part has its file there, which is saved after each fault: what was provoked,
    what it left and the faults found, or that it cannot be done here and why.
    """
    with contextlib.closing(Forks()) as forks, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = make_inputs(forks.run, folder)
        jobs = [kind(forks.run, inputs, folder / kind.name) for kind in JOBS]
        suite = Suite(settings, forks, inputs, jobs, folder)
        for part in PARTS:
            with contextlib.suppress(CannotMount):
                do_part(suite, part, results / f"{part}.json")


def do_part(suite: Suite, part: str, path: Path) -> None:
    """Provokes the faults of a part that are not in its file.

    Raises:
        CannotMount: if that needs a disk, and none can be mounted.
    """
    settings = suite.settings
    # All exporters are one fault.
    count = getattr(settings, part) if part != "exporters" else settings.exporters > 0
    results = {"seed": settings.seed, "found": found_before(path, settings.seed)}
    results["machine"] = machine()
    for number in range(len(results["found"]), count):
        rng = np.random.default_rng([settings.seed, [*PARTS].index(part), number])
        try:
            found = PARTS[part](suite, number, rng)
        except CannotMount as error:
            results["skipped"] = f"a disk cannot be mounted: {error}"
            print(f"{part}: skipped, as {results['skipped']}", flush=True)
            raise
        finally:
            json_files.write_json(path, results)
        print(part, found, flush=True)
        results["found"].append(found)
    json_files.write_json(path, results)


def found_before(path: Path, seed: int) -> list[dict]:
    """What a file of results holds of this seed, as a run that was stopped left it."""
    saved = read_saved([path])
    return saved[0]["found"] if saved and saved[0]["seed"] == seed else []


def read_results(folder: Path) -> dict[str, list[dict]]:
    """What was found by the part; nothing of parts without a file."""
    paths = {part: folder / f"{part}.json" for part in PARTS}
    return {
        part: [one for saved in read_saved([path]) for one in saved["found"]]
        for part, path in paths.items()
    }


def faults_of(results: dict) -> list[str]:
    """All faults that were found."""
    return [
        fault
        for part in results.values()
        for found in part
        for fault in found["faults"]
    ]


def table(results: dict) -> str:
    """Markdown of how often each job was disturbed, and the faults found."""
    kills = results["kills"]
    rows = {
        "killed": kills,
        "of these with a file half written": [k for k in kills if k["unfinished"]],
        "disk full": results["disks"],
        "power cut": results["cuts"],
        "at once": [
            {"job": Export.name, "faults": found["faults"] if not index else []}
            for found in results["exporters"]
            for index in range(found["count"])
        ],
    }
    lines = [f"| | {' | '.join(job.name for job in JOBS)} | faults |"]
    lines.append(f"|---|{'---|' * (len(JOBS) + 1)}")
    for name, chosen in rows.items():
        counts = [sum(found["job"] == job.name for found in chosen) for job in JOBS]
        faults = sum(len(found["faults"]) for found in chosen)
        lines.append(f"| {name} | {' | '.join(map(str, counts))} | {faults} |")
    return "\n".join(lines)


def own_mounts() -> None:
    """Starts this program anew where mounts are its own, if that is allowed."""
    if OWN_MOUNTS in os.environ:
        return
    unshare = ["unshare", "--mount"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        subprocess.run([*unshare, "true"], check=True, capture_output=True)
        os.environ[OWN_MOUNTS] = "yes"
        again = [sys.executable, "-m", "benchmarks.faults", *sys.argv[1:]]
        os.execvp(unshare[0], [*unshare, *again])


def main(argv: list[str]) -> None:
    del argv
    folder = folders.require_folder("output")
    settings = options.from_flags(FaultSettings)
    if not settings.table:
        own_mounts()
        folder.mkdir(parents=True, exist_ok=True)
        measure(settings, folder)
    results = read_results(folder)
    print(table(results))
    faults = faults_of(results)
    print(*faults, sep="\n")
    if faults:
        sys.exit(1)


if __name__ == "__main__":
    options.define_flags(FaultSettings)
    running.run_program(main)
