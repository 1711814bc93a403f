"""What rows without labels are used for: spread labels, and when a run was best."""

import sys

import numpy as np

from keras_ebm.callbacks import AgreementWatch
from keras_ebm.callbacks.agreement_watch import WATCHED
from keras_ebm.estimators.few_labels import evenly
from keras_ebm.estimators.pseudo_labels import PseudoLabels, pseudo_labels
from keras_ebm.rows import take, tensors
from keras_ebm.trainers.run.jobs import enough_labels

STOPS = ("none", *WATCHED)
#: Training rows whose answers are compared, at most.
WATCHED_ROWS = 2_000


def check(run, fit, has_averages: bool) -> None:
    """Refuses rows and settings with which neither can be.

    Args:
        run: `RunData`.
        fit: `FitSettings`.
        has_averages: bool, whether the optimizer averages weights.

    Raises:
        ValueError: if there are no classes, rows are of several inputs, or two settings
            choose the weights that a run ends with.
    """
    for name in ("pseudo_labels", "stop_without_labels"):
        value = getattr(fit, name)
        if value == "none":
            continue
        if run.dataset.num_classes < 2:
            raise ValueError(
                f"`{name}` needs classes. Received: {name}={value} for "
                f"{run.dataset.name}, which has none; leave it out."
            )
        if run.dataset.kind == "inputs":
            raise ValueError(
                f"`{name}` takes rows that are one array. Received: several inputs of "
                f"{run.dataset.name}; use {name}=none."
            )
    if fit.stop_without_labels == "agreement" and not has_averages:
        raise ValueError(
            "`stop_without_labels` agreement is that of the weights with their "
            "averages. Received: ema_momentum=0, which averages none; pass "
            "--ema_momentum=0.99, or stop_without_labels=graph."
        )
    if fit.stop_without_labels != "none" and fit.keep_best and enough_labels(run):
        raise ValueError(
            "`stop_without_labels` and `keep_best` both choose the weights that a run "
            f"ends with. Received: stop_without_labels={fit.stop_without_labels} and "
            "keep_best=true; pass --keep_best=false, or leave the other out."
        )


def guessed_labels(model, run, fit) -> np.ndarray | None:
    """Labels of the training rows without one by `pseudo_labels`, `(n,)`, or None."""
    x, y = run.rows("train")
    if fit.pseudo_labels == "none":
        return None
    if (y >= 0).all() or not (y >= 0).any():
        which = "all" if (y >= 0).all() else "no"
        sys.stderr.write(f"pseudo_labels: none, as {which} training rows have labels\n")
        return None
    found = pseudo_labels(fit.pseudo_labels, _entries(model, x), y)
    if found is None:
        sys.stderr.write("pseudo_labels: none, as rows left out do not call for them\n")
        return None
    sys.stderr.write(f"pseudo_labels: {_told(found, y)}\n")
    return found.labels


def _told(found: PseudoLabels, y) -> str:
    reached = np.sum(found.labels[y < 0] >= 0)
    text = f"spread to {reached} of {np.sum(y < 0)} rows, alpha {found.alpha}"
    if np.isnan(found.accuracy):
        return text
    return f"{text}, {found.accuracy:.3f} of the labelled rows left out answered right"


def _entries(model, x) -> np.ndarray:
    parts = (tensors(take(x, slice(i, i + 4096))) for i in range(0, len(x), 4096))
    entries = np.concatenate([np.asarray(model.preprocess(part)) for part in parts])
    return entries.reshape(len(entries), -1)


def agreement_watch(run, fit) -> list:
    """The callback that watches training rows without labels; of all, if none lack."""
    if fit.stop_without_labels == "none":
        return []
    x, y = run.rows("train")
    rows = np.flatnonzero(y < 0) if (y < 0).any() else np.arange(len(y))
    return [AgreementWatch(take(x, rows[evenly(len(rows), WATCHED_ROWS)]))]
