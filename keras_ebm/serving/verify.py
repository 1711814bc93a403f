"""Checks that an exported model answers as the framework does."""

import numpy as np
import tensorflow as tf

from keras_ebm.data.schema import TableSchema
from keras_ebm.ood import Detector
from keras_ebm.serving import inputs

TOLERANCE = 1e-4


def verify(path, model: Detector, x: np.ndarray) -> dict[str, float]:
    """Compares a SavedModel with the detector that it was exported from.

    Numbers must agree within `1e-4` of the largest magnitude of that output;
    classes must be equal where the two best probabilities differ by more, and
    decisions wherever the score is further than that from the threshold.

    Args:
        path: folder of one SavedModel version.
        model: the `Detector` that was exported.
        x: raw rows `(n, ...)`, at least one.

    Returns:
        The largest difference of each numeric output.

    Raises:
        ValueError: if there are no rows.
        RuntimeError: if the folder holds no SavedModel, or an output is absent
            or differs.
    """
    if len(x) == 0:
        raise ValueError("`x` must have at least one row. Received: no rows.")
    served = _answers(path, _request(model, x))
    expected = model.predict(x, batch_size=len(x))
    differences = {}
    for name in ("energy", "ood_score", "p_value", "probabilities"):
        if name in served:
            differences[name] = _difference(name, served[name], expected[name])
    # A score that rounds to the other side of a calibration score moves the
    # p-value by one step, which is no disagreement of the models.
    step = 1.0 / (model.conformal.sizes.min() + 1.0)
    for name, value in differences.items():
        limit = TOLERANCE * max(1.0, float(np.nanmax(np.abs(expected[name]))))
        limit += 2.0 * step if name == "p_value" else 0.0
        if value > limit:
            raise RuntimeError(
                f"The exported model disagrees: `{name}` differs by {value:.3g} "
                f"(limit {limit:.3g}) on {len(x)} rows."
            )
    _compare_decisions(served, expected, model)
    return differences


def _answers(path, request):
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # of many kinds, as a file can be anything
        raise RuntimeError(
            f"The exported model cannot be loaded from {path}: {error}"
        ) from error
    answers = loaded.signatures["serving_default"](**request)
    for name in ("energy", "ood_score", "p_value", "accept"):
        if name not in answers:
            raise RuntimeError(f"The exported model has no output `{name}`.")
    return {name: value.numpy() for name, value in answers.items()}


def _request(model, x):
    if inputs.input_kind(model.model) != "table":
        return {"inputs": tf.constant(x)}
    schema = TableSchema.from_config(model.model.preprocessor.schema)
    columns = inputs.split_columns(schema, np.asarray(x))
    return {name: tf.constant(values) for name, values in columns.items()}


def _difference(name, served, expected):
    if not np.array_equal(np.isnan(served), np.isnan(expected)):
        raise RuntimeError(f"The exported model disagrees on where `{name}` is NaN.")
    same = np.where(np.isnan(expected) | (served == expected), 0.0, served - expected)
    return float(np.abs(same).max())


def _compare_decisions(served, expected, model):
    if "class_id" in served:
        best = np.sort(expected["probabilities"], axis=-1)
        clear = best[:, -1] - best[:, -2] > TOLERANCE
        for name in ("class_id", "label"):
            _require_equal(name, served[name][clear], expected[name][clear])
    threshold = np.asarray(model.conformal.threshold(model.target_fpr))
    if model.conformal.by_class:
        threshold = threshold[expected["class_id"]]
    score = expected["ood_score"]
    limit = TOLERANCE * np.maximum(1.0, np.abs(threshold))
    clear = ~(np.abs(score - threshold) <= limit)
    _require_equal("accept", served["accept"][clear], expected["accept"][clear])


def _require_equal(name, served, expected):
    if not np.array_equal(served, expected):
        count = int(np.sum(served != expected))
        raise RuntimeError(
            f"The exported model disagrees: `{name}` differs on {count} of "
            f"{len(expected)} rows."
        )
