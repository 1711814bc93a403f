"""Has a trained model answer by the shares of the classes where it will be used."""

import sys

import numpy as np

from keras_ebm.estimators.class_shares import MOST_ROWS, ClassShares
from keras_ebm.estimators.few_labels import evenly, shares_of
from keras_ebm.rows import as_rows, num_rows, take, tensors
from trainers.run.jobs import enough_labels

#: As among the labels of training, or as found among the rows to come.
CLASS_SHARES = ("labelled", "estimated")


def check_shares(run) -> None:
    """Refuses rows of which the shares cannot be estimated.

    Raises:
        ValueError: if they are of several inputs, and too few validation rows have
            labels to count the classes.
    """
    if run.dataset.kind == "inputs" and not enough_labels(run):
        raise ValueError(
            "`class_shares` estimated takes rows that are one array, or 20 labelled "
            f"validation rows. Received: several inputs of {run.dataset.name}, and "
            "fewer; use class_shares=labelled."
        )


def answer_by_shares(model, run) -> None:
    """Sets a model's `class_offsets`, unless all training rows have labels.

    Args:
        model: `EnergyModel` with classes.
        run: `RunData`.
    """
    x, y = run.rows("train")
    if (y >= 0).all() or not (y >= 0).any():
        return
    if enough_labels(run):
        found, how = _counted(model, *run.rows("validation"), y), "counted"
    else:
        found, how = _estimated(model, x, y), "estimated"
    model.class_offsets = found.offsets
    names = run.dataset.class_names or range(model.num_classes)
    shares = zip(names, found.shares, strict=True)
    told = ", ".join(f"{name} {share:.3f}" for name, share in shares)
    sys.stderr.write(f"class_shares: {how}: {told}\n")


def _counted(model, x, y, train_y) -> ClassShares:
    known = y >= 0
    labelled = shares_of(train_y, model.num_classes)
    return ClassShares.counted(_logits(model, take(x, known)), y[known], labelled)


def _estimated(model, x, y) -> ClassShares:
    others = np.flatnonzero(y < 0)
    rows = np.concatenate(
        [np.flatnonzero(y >= 0), others[evenly(len(others), MOST_ROWS)]]
    )
    taken = tensors(take(x, rows))
    entries = np.asarray(model.preprocess(taken)).reshape(len(rows), -1)
    return ClassShares.estimate(_logits(model, take(x, rows)), entries, y[rows])


def _logits(model, x) -> np.ndarray:
    x, size = as_rows(x, "x", model.raw_spec()), model.rows_at_a_time()
    starts = range(0, num_rows(x), size)
    parts = [model.logits(tensors(take(x, slice(i, i + size)))) for i in starts]
    return np.concatenate(parts)
