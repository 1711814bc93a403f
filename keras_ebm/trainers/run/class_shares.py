"""Has a trained model answer by the shares of the classes where it will be used."""

import sys

import numpy as np

from keras_ebm.estimators.class_shares import MOST_ROWS, ClassShares
from keras_ebm.estimators.few_labels import evenly, shares_of
from keras_ebm.ood import network_outputs
from keras_ebm.rows import take, tensors
from keras_ebm.trainers.run.jobs import ENOUGH_LABELS, enough_labels

#: As among the labels of training, of validation, or as unlabelled rows look.
CLASS_SHARES = ("labelled", "counted", "estimated")


def check_shares(run) -> None:
    """Refuses rows of which the shares cannot be estimated.

    Raises:
        ValueError: if they are of several inputs.
    """
    if run.dataset.kind == "inputs":
        raise ValueError(
            "`class_shares` estimated takes rows that are one array. Received: several "
            f"inputs of {run.dataset.name}; use class_shares=counted."
        )


def answer_by_shares(model, run, how: str) -> None:
    """Sets a model's `class_offsets`, unless all training rows have labels.

    Args:
        model: `EnergyModel` with classes.
        run: `RunData`.
        how: `"counted"`, which needs 20 labelled validation rows and else leaves the
            model as it is, or `"estimated"`.
    """
    x, y = run.rows("train")
    if (y >= 0).all() or not (y >= 0).any():
        return
    if how == "counted" and not enough_labels(run):
        sys.stderr.write(
            f"class_shares: fewer than {ENOUGH_LABELS} validation rows have labels to "
            "count, so they are those of the labels\n"
        )
        return
    if how == "counted":
        found = _counted(model, *run.rows("validation"), y)
    else:
        found = _estimated(model, x, y)
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
    return network_outputs(model, x, requires=())["logits"]
