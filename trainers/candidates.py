"""Trains one model with each transform of a table, and keeps the better one."""

import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from trainers import common, fitting

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

    jobs: dict[str, fitting.Job]
    workdir: Path

    @property
    def is_chief(self) -> bool:
        return next(iter(self.jobs.values())).is_chief

    def perform(self) -> tuple[keras.Model, dict]:
        """Trains all, and makes the run folder that of the best.

        Best is the highest accuracy on the labelled validation rows; of equals the
        last in `TRANSFORMS`. The others stay in the folder `candidates`.

        Returns:
            `(model, metrics)` of the best, as `Job.perform`.
        """
        results = {name: _perform_once(job) for name, job in self.jobs.items()}
        accuracies = {
            name: validation_accuracy(model, self.jobs[name].run)
            for name, (model, _) in results.items()
        }
        best = max(accuracies, key=lambda name: (accuracies[name], name == FALLBACK))
        shutil.copytree(self.jobs[best].workdir, self.workdir, dirs_exist_ok=True)
        selection = {"transform": best, "validation_accuracy": accuracies}
        common.write_json(self.workdir / FILE, selection)
        return results[best]


def prepare(run, settings, fit, build: Callable, strategy=None):
    """What `fitting.prepare` makes, or `Candidates` where `transform` is auto."""
    if getattr(settings, "transform", "") != "auto":
        return fitting.prepare(run, settings, fit, build, strategy)
    names = _names(run, fit)
    if len(names) == 1:
        settings = dataclasses.replace(settings, transform=names[0])
        return fitting.prepare(run, settings, fit, build, strategy)
    jobs = {}
    for name in names:
        folder = Path(fit.workdir) / FOLDER / name
        own = dataclasses.replace(
            fit,
            workdir=str(folder),
            resume=False,
            auto_resume=fit.resume or fit.auto_resume,
        )
        changed = dataclasses.replace(settings, transform=name)
        jobs[name] = fitting.prepare(run, changed, own, build, strategy)
    return Candidates(jobs, Path(fit.workdir))


def _names(run, fit):
    """The transforms to try."""
    if run.dataset.kind == "image":
        return TRANSFORMS[:1]
    if fitting.enough_labels(run):
        return TRANSFORMS
    sys.stderr.write(
        f"transform: fewer than {fitting.ENOUGH_LABELS} validation rows have labels "
        f"to choose by, so it is {FALLBACK}\n"
    )
    return (FALLBACK,)


def _perform_once(job):
    """Performs a job, unless an interrupted run has done so already."""
    path = job.workdir / "metrics.json"
    if job.fit.auto_resume and path.is_file():
        return common.load_model(job.workdir / common.MODEL_FILE), common.read_json(
            path
        )
    return job.perform()


def validation_accuracy(model, run) -> float:
    """Accuracy on the labelled validation rows."""
    x, y = run.rows("validation")
    known = y >= 0
    guess = np.argmax(np.asarray(model.logits(x[known])), axis=-1)
    return float(np.mean(guess == y[known]))
