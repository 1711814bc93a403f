r"""Kills, full disks, power cuts and exporters at once: what is left of the files.

Four jobs are disturbed: a training (`trainers.likelihood`), one with a backup after
every step (`trainers.vera`), `export.classifier` and `export.predict`. They are killed
by SIGKILL, at any moment or while a file is being written; they meet disks that are too
small; the power of their disk is cut; and ten exporters write into one folder at once.
Each time nothing half may be visible, what was there before is whole, and the same
command then ends as if nothing had happened: with the same weights to the bit, history,
answers and files, and nothing left behind. From the top of the checkout:

    python -m benchmarks.faults --output=benchmarks/results/faults.json

Disks are mounted in a mount namespace of its own, where the user may; else their part
is left out, and a line says why. The exit status is 1 if there was a fault.
"""

import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.fault_disks import CannotMount
from benchmarks.fault_jobs import JOBS, Backup, Export, Training, make_inputs
from benchmarks.fault_trials import cut, export_together, fill, kill
from benchmarks.machine import machine
from tests.forks import Forks
from trainers import common
from trainers.common import setting

#: Said to the program that starts itself anew where mounts are its own.
OWN_MOUNTS = "KERAS_EBM_OWN_MOUNTS"
CUTS = ("as an export says it is done", "as a run says it is done", "in mid run")


@dataclasses.dataclass(frozen=True)
class FaultSettings(common.Checked):
    """How many faults, and where what they found goes."""

    output: str = setting("", "JSON file of the results.")
    seed: int = setting(0, "Of the moments and sizes.", **common.SEED)
    kills: int = setting(50, "Processes that are killed.", low=0)
    disks: int = setting(20, "Disks that are too small.", low=0)
    cuts: int = setting(3, "Power cuts.", low=0)
    exporters: int = setting(10, "Exporters at once.", low=0)


def all_kills(settings, jobs, forks, folder) -> Iterator[dict]:
    """Kills of each job in turn, every second round while it writes."""
    for number in range(settings.kills):
        job, rng = of_number(settings, jobs, "kills", number)
        writing = number // len(jobs) % 2 == 1 or isinstance(job, Backup)
        yield kill(job, forks, folder / f"kill-{number}", rng, writing)


def all_disks(settings, jobs, forks, folder) -> Iterator[dict]:
    """Full disks of each job in turn."""
    for number in range(settings.disks):
        job, rng = of_number(settings, jobs, "disks", number)
        yield fill(job, forks, folder / f"disk-{number}", rng)


def all_cuts(settings, jobs, forks, folder) -> Iterator[dict]:
    """Power cuts of the three kinds in turn."""
    by_class = {type(job): job for job in jobs}
    kinds = ((Export, False), (Training, False), (Backup, True))
    for number in range(settings.cuts):
        _, rng = of_number(settings, jobs, "cuts", number)
        job_class, in_mid_run = kinds[number % len(kinds)]
        job, place = by_class[job_class], folder / f"cut-{number}"
        found = cut(job, forks, place, rng, in_mid_run)
        yield {"moment": CUTS[number % len(kinds)], **found}


PARTS = {"kills": all_kills, "disks": all_disks, "cuts": all_cuts}


def of_number(settings, jobs, part: str, number: int) -> tuple:
    """The job of a fault and the random numbers that it is drawn by."""
    key = [settings.seed, [*PARTS].index(part), number]
    return jobs[number % len(jobs)], np.random.default_rng(key)


def measure(settings: FaultSettings, forks: Forks, folder: Path, save) -> dict:
    """Does all that the settings ask for.

    Args:
        settings: `FaultSettings`.
        forks: `Forks`.
        folder: empty, to work in.
        save: callable, given what there is after each fault.

    Returns:
        By part, a list of faults provoked with what they left; a part that cannot be
        done here is a text that says why.
    """
    inputs = make_inputs(forks.run, folder)
    jobs = [kind(forks.run, inputs, folder / kind.name) for kind in JOBS]
    results = {"seed": settings.seed}
    for part, trials in PARTS.items():
        results[part] = []
        try:
            for found in trials(settings, jobs, forks, folder):
                print(part, found, flush=True)
                results[part].append(found)
                save(results)
        except CannotMount as error:
            results[part] = f"skipped, as a disk cannot be mounted: {error}"
            print(f"{part}: {results[part]}", flush=True)
    together = export_together(forks, inputs, folder / "together", settings.exporters)
    results["exporters"] = [together]
    save(results)
    return results


def faults_of(results: dict) -> list[str]:
    """All faults that were found."""
    parts = [part for part in results.values() if isinstance(part, list)]
    return [fault for part in parts for found in part for fault in found["faults"]]


def table(results: dict) -> str:
    """Markdown of how often each job was disturbed, and the faults found."""
    lines = [f"| | {' | '.join(job.name for job in JOBS)} | faults |"]
    lines.append(f"|---|{'---|' * (len(JOBS) + 1)}")
    for name, chosen in rows(results).items():
        counts = [sum(found["job"] == job.name for found in chosen) for job in JOBS]
        faults = sum(len(found["faults"]) for found in chosen)
        lines.append(f"| {name} | {' | '.join(map(str, counts))} | {faults} |")
    return "\n".join(lines)


def rows(results: dict) -> dict[str, list[dict]]:
    """The faults provoked by what the table calls them."""
    kills, full, cuts = (
        part if isinstance(part, list) else []
        for part in (results[name] for name in PARTS)
    )
    return {
        "killed": kills,
        "of these with a file half written": [k for k in kills if k["unfinished"]],
        "disk full": full,
        "power cut": cuts,
    }


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
    output = common.require_file("output")
    settings = common.from_flags(FaultSettings)
    own_mounts()

    def save(results):
        common.write_json(output, {**results, "machine": machine()})

    with contextlib.closing(Forks()) as forks, tempfile.TemporaryDirectory() as folder:
        results = measure(settings, forks, Path(folder), save)
    print(table(results))
    faults = faults_of(results)
    print(*faults, sep="\n")
    if faults:
        sys.exit(1)


if __name__ == "__main__":
    common.define_flags(FaultSettings)
    common.run_program(main)
