"""Trains one model with each transform of a table, and keeps the better one."""

import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from keras_ebm import files
from keras_ebm.trainers.program import json_files
from keras_ebm.trainers.run import backup, fitting, jobs

FOLDER = "candidates"
FILE = "selection.json"
#: The transforms that are tried.
TRANSFORMS = ("standardise", "quantile")
#: What is taken where too few validation rows have labels: better on average where
#: there were enough.
FALLBACK = "quantile"


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Jobs of which one is to be kept, by their transform."""

    jobs: dict[str, jobs.Job]
    workdir: Path

    @property
    def is_chief(self) -> bool:
        return next(iter(self.jobs.values())).is_chief

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to do, as `auto_resume` found a finished run."""
        done = all(job.is_done for job in self.jobs.values())
        return done and backup.is_finished(self.workdir)

    @property
    def folders(self) -> list[Path]:
        """Where each job is trained."""
        return [job.workdir for job in self.jobs.values()]

    def perform(self) -> tuple[keras.Model, dict]:
        """Trains all, and makes the run folder that of the best.

        Best is the highest accuracy on the labelled validation rows; of equals the
        last in `TRANSFORMS`. The others stay in the folder `candidates`.

        Returns:
            `(model, metrics)` of the best, as `Job.perform`.
        """
        if self.is_done:
            backup.clear_all(self.workdir)
        else:
            self._begin()
        results = {name: job.perform() for name, job in self.jobs.items()}
        accuracies = {
            name: validation_accuracy(model, self.jobs[name].run)
            for name, (model, _) in results.items()
        }
        best = max(accuracies, key=lambda name: (accuracies[name], name == FALLBACK))
        if not self.is_done:
            self._keep(best, accuracies)
        return results[best]

    def _begin(self):
        """Marks all that is to be trained, or a kill would leave what was before.

        Jobs that are done, or that have backups, are part of the run that goes on.
        """
        for job in self.jobs.values():
            if not job.is_done and not job.first_part:
                backup.begin(job.workdir)
        backup.begin(self.workdir)

    def _keep(self, best, accuracies):
        source = self.jobs[best].workdir
        shutil.copytree(
            source, self.workdir, copy_function=files.copy, dirs_exist_ok=True
        )
        selection = {"transform": best, "validation_accuracy": accuracies}
        json_files.write_json(self.workdir / FILE, selection)
        backup.clear(backup.backup_folder(self.workdir))


def prepare(run, settings, fit, build: Callable, strategy=None):
    """What `fitting.prepare` makes, or `Candidates` where `transform` is auto."""
    if getattr(settings, "transform", "") != "auto":
        return fitting.prepare(run, settings, fit, build, strategy)
    names = _names(run, fit)
    if len(names) == 1:
        settings = dataclasses.replace(settings, transform=names[0])
        return fitting.prepare(run, settings, fit, build, strategy)
    tried = {}
    for name in names:
        folder = Path(fit.workdir) / FOLDER / name
        own = dataclasses.replace(
            fit,
            workdir=str(folder),
            resume=False,
            auto_resume=fit.resume or fit.auto_resume,
        )
        changed = dataclasses.replace(settings, transform=name)
        tried[name] = fitting.prepare(run, changed, own, build, strategy)
    return Candidates(tried, Path(fit.workdir))


def _names(run, fit):
    """The transforms to try."""
    if run.dataset.kind in ("image", "inputs"):
        return TRANSFORMS[:1]
    if jobs.enough_labels(run):
        return TRANSFORMS
    sys.stderr.write(
        f"transform: fewer than {jobs.ENOUGH_LABELS} validation rows have labels "
        f"to choose by, so it is {FALLBACK}\n"
    )
    return (FALLBACK,)


def validation_accuracy(model, run) -> float:
    """Accuracy on the labelled validation rows."""
    x, y = run.rows("validation")
    known = y >= 0
    guess = np.argmax(model.offset(model.logits(x[known])), axis=-1)
    return float(np.mean(guess == y[known]))
