"""Checks that an exported model answers as the framework does."""

import numpy as np
import tensorflow as tf

from keras_ebm.data.schema import TableSchema
from keras_ebm.explain import Explainer
from keras_ebm.ood import Detector
from keras_ebm.serving import inputs
from keras_ebm.serving.explanations import CHANGE, CONTRIBUTIONS

TOLERANCE = 1e-4
DECISION = ("energy", "ood_score", "p_value", "accept")


def verify(
    path, model: Detector, x: np.ndarray, explainer: Explainer | None = None
) -> dict[str, float]:
    """Compares a SavedModel with the detector that it was exported from.

    Numbers must agree within `1e-4` of the largest magnitude of that output;
    classes must be equal where the two best probabilities differ by more, and
    decisions wherever the score is further than that from the threshold.

    With an explainer, contributions must agree likewise; the same rows must be found
    changes for, and the detector must accept each changed row with the energy that
    is served.

    Args:
        path: folder of one SavedModel version.
        model: the `Detector` that was exported.
        x: raw rows `(n, ...)`, at least one.
        explainer: the `Explainer` that was exported, or None for an export without.

    Returns:
        The largest difference of each numeric output.

    Raises:
        ValueError: if there are no rows.
        RuntimeError: if the folder holds no SavedModel, or an output is absent
            or differs.
    """
    if len(x) == 0:
        raise ValueError("`x` must have at least one row. Received: no rows.")
    loaded, request = _load(path), _request(model, x)
    served = _answers(loaded, "serving_default", request, DECISION)
    expected = model.predict(x, batch_size=len(x))
    differences = {}
    for name in ("energy", "ood_score", "p_value", "probabilities"):
        if name in served:
            differences[name] = _difference(name, served[name], expected[name])
    # A score that rounds to the other side of a calibration score moves the
    # p-value by one step, which is no disagreement of the models.
    step = 1.0 / (model.conformal.sizes.min() + 1.0)
    for name, value in differences.items():
        extra = 2.0 * step if name == "p_value" else 0.0
        _require_close(name, value, expected[name], extra)
    _compare_decisions(served, expected, model)
    if explainer is not None:
        found = _answers(loaded, "explain", request, CONTRIBUTIONS)
        differences |= _compare_contributions(found, explainer, x)
        found = _answers(loaded, "acceptable", request, CHANGE)
        _compare_changes(found, explainer, x, expected)
    return differences


def _load(path):
    try:
        return tf.saved_model.load(str(path))
    except Exception as error:  # of many kinds, as a file can be anything
        raise RuntimeError(
            f"The exported model cannot be loaded from {path}: {error}"
        ) from error


def _answers(loaded, signature, request, names):
    if signature not in loaded.signatures:
        raise RuntimeError(f"The exported model has no signature `{signature}`.")
    answers = loaded.signatures[signature](**request)
    for name in names:
        if name not in answers:
            raise RuntimeError(f"The exported model has no output `{name}`.")
    return {name: value.numpy() for name, value in answers.items()}


def _request(model, x):
    if inputs.input_kind(model.model) != "table":
        return {"inputs": tf.constant(x)}
    schema = TableSchema.from_config(model.model.preprocessor.schema)
    columns = inputs.split_columns(schema, np.asarray(x))
    specs = inputs.column_specs(schema)
    return {name: tf.constant(v, specs[name].dtype) for name, v in columns.items()}


def _difference(name, served, expected):
    if not np.array_equal(np.isnan(served), np.isnan(expected)):
        raise RuntimeError(f"The exported model disagrees on where `{name}` is NaN.")
    same = np.where(np.isnan(expected) | (served == expected), 0.0, served - expected)
    return float(np.abs(same).max())


def _require_close(name, difference, expected, extra=0.0):
    limit = TOLERANCE * max(1.0, float(np.nanmax(np.abs(expected)))) + extra
    if difference > limit:
        raise RuntimeError(
            f"The exported model disagrees: `{name}` differs by {difference:.3g} "
            f"(limit {limit:.3g}) on {len(expected)} rows."
        )


def _compare_contributions(served, explainer, x):
    expected = explainer.contributions(x)
    differences = {}
    for name in ("contributions", "baseline_energy"):
        values = getattr(expected, name).numpy()
        differences[name] = _difference(name, served[name], values)
        _require_close(name, differences[name], values)
    return differences


def _compare_changes(served, explainer, x, decision):
    clear = _clear(explainer.detector, decision)
    expected = explainer.acceptable(x).found.numpy()
    _require_equal("found", served["found"][clear], expected[clear])
    moved = served["found"] & ~decision["accept"] & clear
    rows = _changed_rows(served, explainer, x)[moved]
    if len(rows):
        again = explainer.detector.predict(rows, batch_size=len(rows))
        _require_equal("found", again["accept"], np.ones(len(rows), bool))
        energy = again["energy"]
        difference = _difference("energy", served["energy"][moved], energy)
        _require_close("energy", difference, energy)


def _changed_rows(served, explainer, x):
    rows = np.array(x, explainer.encoder.input_dtype)
    if inputs.input_kind(explainer.detector.model) != "table":
        return served["inputs"]
    schema = TableSchema.from_config(explainer.encoder.schema)
    for position, name in enumerate(inputs.column_names(schema).values()):
        if schema.columns[position].kind == "numeric":
            rows[:, position] = served[name]
    return rows


def _compare_decisions(served, expected, model):
    if "class_id" in served:
        best = np.sort(expected["probabilities"], axis=-1)
        clear = best[:, -1] - best[:, -2] > TOLERANCE
        for name in ("class_id", "label"):
            _require_equal(name, served[name][clear], expected[name][clear])
    clear = _clear(model, expected)
    _require_equal("accept", served["accept"][clear], expected["accept"][clear])
    if "filled" in served:
        _require_equal("filled", served["filled"], expected["filled"])
    if "reason" in served:
        _require_equal("reason", served["reason"][clear], expected["reason"][clear])


def _clear(model, expected):
    """Which rows' scores are further from the threshold than rounding goes."""
    threshold = np.asarray(model.conformal.threshold(model.target_fpr))
    if model.conformal.by_class:
        threshold = threshold[expected["class_id"]]
    limit = TOLERANCE * np.maximum(1.0, np.abs(threshold))
    return ~(np.abs(expected["ood_score"] - threshold) <= limit)


def _require_equal(name, served, expected):
    if not np.array_equal(served, expected):
        count = int(np.sum(served != expected))
        raise RuntimeError(
            f"The exported model disagrees: `{name}` differs on {count} of "
            f"{len(expected)} rows."
        )
