"""What all trials of a search have in common, and what they are measured by."""

import dataclasses
from collections.abc import Callable

import keras_tuner as kt
import numpy as np

from keras_ebm import metrics
from keras_ebm.trainers.report.measures import CELLS_A_UNIT, EXTENTS
from keras_ebm.trainers.run import fitting, jobs
from keras_ebm.trainers.search import spaces
from keras_ebm.trainers.settings.data import RunData


@dataclasses.dataclass(frozen=True)
class Task:
    """What all trials of a search have in common.

    Attributes:
        run: `RunData`.
        model_settings: settings of the model, where the space leaves them alone.
        fit: `fitting.FitSettings`, likewise; its `workdir` is the search's folder.
        build: see `fitting.prepare`.
        space: parameters, see `spaces.space_of`.
        tuner: `"hyperband"`, `"bayesian"` or `"random"`.
        trials: int, in all.
        verbose: int; 0 leaves out the line of each trial.
    """

    run: RunData
    model_settings: object
    fit: fitting.FitSettings
    build: Callable
    space: tuple
    tuner: str
    trials: int
    verbose: int = 1

    @property
    def objective(self) -> kt.Objective:
        """Accuracy on validation rows, or their mean negative log-likelihood (nats)."""
        if self.run.dataset.num_classes > 1:
            return kt.Objective("val_accuracy", "max")
        return kt.Objective("val_nll", "min")

    def settings(self, values: dict, workdir):
        """`(model settings, fit settings)` of a trial's values in a run folder."""
        flags = spaces.flags_of(values)

        def changed(settings, **more):
            names = {field.name for field in dataclasses.fields(settings)}
            own = {k: v for k, v in flags.items() if k in names}
            return dataclasses.replace(settings, **own, **more)

        return changed(self.model_settings), changed(self.fit, workdir=str(workdir))

    def prepare(self, values: dict, workdir) -> jobs.Job:
        """Builds a trial's job, which goes on from the backups in `workdir`.

        Raises:
            ValueError: if the values do not fit the data or each other.
        """
        model_settings, fit = self.settings(values, workdir)
        fit = dataclasses.replace(fit, auto_resume=True)
        return fitting.prepare(self.run, model_settings, fit, self.build)

    def validate(self, model) -> dict:
        """The objective of a trained model, and `val_nll` (nats) of a classifier.

        Raises:
            Diverged: if one of them is not finite.
        """
        if self.run.dataset.num_classes > 1:
            return classifier_measures(model, self.run)
        return {"val_nll": validation_nll(model, self.run)}


def classifier_measures(model, run) -> dict:
    """`val_accuracy` and `val_nll` (nats) on the labelled validation rows.

    Raises:
        Diverged: if a logit is not finite, for which an accuracy would still be found.
    """
    x, y = run.rows("validation")
    known = y >= 0
    logits, y = model.offset(model.logits(x[known])).numpy(), y[known]
    if not np.isfinite(logits).all():
        raise jobs.Diverged("logits of validation rows are not finite")
    return {
        "val_accuracy": float(np.mean(logits.argmax(axis=-1) == y)),
        "val_nll": metrics.negative_log_likelihood(logits, y, from_logits=True),
    }


def validation_nll(model, run) -> float:
    """Mean negative log-likelihood of validation rows in the plane, in nats.

    `log Z` is summed over the smallest of the boxes `EXTENTS` that holds the mass.

    Args:
        model: `EnergyModel` of a contrastive objective.
        run: `RunData`, of points in the plane.

    Raises:
        Diverged: if the energy has no finite `Z` there.
    """
    x, _ = run.rows("validation")
    for extent in EXTENTS:
        cells = int(CELLS_A_UNIT * 2 * extent)
        try:
            # The gap to a log-density of 0 is the likelihood itself.
            return metrics.nll_gap(model.energy, x, np.zeros(len(x)), extent, cells)
        except ValueError as error:
            reason = error
    raise jobs.Diverged(f"no likelihood: {' '.join(str(reason).split())}")
