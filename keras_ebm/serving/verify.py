"""Checks that an exported model answers as the framework does."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import tensorflow as tf

from keras_ebm import rows
from keras_ebm.data.image_bytes import decode_rows
from keras_ebm.data.schema import TableSchema
from keras_ebm.explain import Explainer
from keras_ebm.layers import TableEncoder
from keras_ebm.ood import Detector
from keras_ebm.serving import comparing, inputs
from keras_ebm.serving.explanations import CHANGE, CONTRIBUTIONS
from keras_ebm.serving.inputs import LARGEST
from keras_ebm.serving.outputs import OUTPUTS, complete
from keras_ebm.serving.signatures import REFUSED, Served, names_of, served
from keras_ebm.serving.warm_up import requests_of


def verify(
    path: str | Path, model: Detector, x: Any, explainer: Explainer | None = None
) -> dict[str, float]:
    """Compares every output of a SavedModel with those of the detector it is of.

    All signatures are asked: `serving_default`, `at_rate` for two rates, `encoded` for
    the images as PNG and for bytes that are no image, and the others of `signatures`
    with the same rows. No answer may be NaN or infinite. Numbers must agree within
    `1e-4` of the largest magnitude of that output, or four steps of half precision;
    classes must be equal where the two best probabilities differ by more, and decisions
    and their reasons wherever the score is further than that from the threshold; see
    `serving.outputs.OUTPUTS`.

    With an explainer, contributions must agree likewise; the same rows must be found
    changes for, and the detector must accept each changed row with the energy, and at
    the distance, that are served. Words, and rows that need no change, must be as they
    came.

    Args:
        path: folder of one SavedModel version.
        model: the `Detector` that was exported.
        x: raw rows `(n, ...)`, at least one.
        explainer: the `Explainer` that was exported, or None for an export without.

    Returns:
        The largest difference of each numeric output.

    Raises:
        ValueError: if there are no rows.
        RuntimeError: if the folder holds no SavedModel, or a signature or an output is
            absent, differs, or is none of the detector's.
    """
    x = rows.as_rows(x, "x", model.model.raw_spec())
    if rows.num_rows(x) == 0:
        raise ValueError("`x` must have at least one row. Received: no rows.")
    loaded = _load(path)
    what = _what_of(loaded, model)
    _require_signatures(loaded, what, explainer)
    differences: dict[str, float] = {}
    # Both sides take the same batches, of no more rows than fit.
    step = model.model.rows_at_a_time()
    for start in range(0, rows.num_rows(x), step):
        part = rows.take(x, slice(start, start + step))
        _largest(differences, _compare(loaded, what, model, part, explainer))
    return differences


def _what_of(loaded, model) -> Served:
    found = getattr(loaded, "signatures", {})
    outputs = getattr(found.get("serving_default"), "structured_outputs", {})
    return served(model, "classify" in found or "class_id" in outputs)


def _compare(loaded, what, model, x, explainer) -> dict[str, float]:
    """Compares every signature on rows that pass at once."""
    request = request_of(model, x)
    expected = _expected(model.decide(rows.tensors(x)))
    differences: dict[str, float] = {}
    requests = requests_of(what, request, model.target_fpr)
    for name in ("serving_default", "text", "examples"):
        if name in requests:
            found = _answers(loaded, name, requests[name])
            own = comparing.compare_decisions(name, found, expected, model)
            _largest(differences, own)
    if "regress" in requests:
        _compare_interfaces(loaded, requests, expected, model)
    _largest(differences, _compare_rates(loaded, request, model, x))
    if inputs.takes_bytes(model.model):
        _largest(differences, _compare_encoded(loaded, model, x, expected))
    if explainer is not None:
        found = _answers(loaded, "explain", request)
        _largest(differences, _compare_contributions(found, explainer, x))
        found = _answers(loaded, "acceptable", request)
        _compare_changes(found, explainer, x, request, expected)
    return differences


def _largest(differences: dict, others: dict) -> None:
    for name, value in others.items():
        differences[name] = max(value, differences.get(name, 0.0))


def _load(path):
    try:
        return tf.saved_model.load(str(path))
    except Exception as error:  # of many kinds, as a file can be anything
        raise RuntimeError(
            f"The exported model cannot be loaded from {path}: {error}"
        ) from error


def _require_signatures(loaded, what, explainer):
    wanted = names_of(what)
    wanted += ["explain", "acceptable"] if explainer is not None else []
    for name in wanted:
        if name not in loaded.signatures:
            raise RuntimeError(f"The exported model has no signature `{name}`.")
    for name in loaded.signatures:
        if name not in wanted:
            raise RuntimeError(
                f"The exported model has a signature `{name}`, which was not to be "
                "compared; give the `explainer` that was exported with it."
                if name in ("explain", "acceptable")
                else f"The exported model has a signature `{name}`, which the "
                "detector does not give."
            )


def _answers(loaded, signature, request):
    answers = loaded.signatures[signature](**request)
    found = {name: value.numpy() for name, value in answers.items()}
    for name, values in found.items():
        finite = values.dtype.kind != "f" or np.isfinite(values)
        if not np.all(finite):
            raise RuntimeError(
                f"The exported model answers with NaN or infinity: `{name}` of the "
                f"signature `{signature}` in {np.sum(~finite)} places."
            )
    return found


def _expected(decision: dict) -> dict[str, np.ndarray]:
    """The detector's answers as they are served; see `complete`."""
    return {name: value.numpy() for name, value in complete(decision).items()}


def _compare_interfaces(loaded, requests, expected, model):
    """Compares `regress` and `classify`, which give a part of each answer."""
    (p_values,) = _answers(loaded, "regress", requests["regress"]).values()
    comparing.require_steps("outputs", p_values, expected, model)
    if "classify" not in requests:
        return
    answer = _answers(loaded, "classify", requests["classify"])
    names = np.array([*model.class_names, REFUSED], object)
    same = np.char.encode(names.astype(str), "utf-8").astype(object)
    wide = np.broadcast_to(same, answer["classes"].shape)
    comparing.require_equal("classes", answer["classes"], wide)
    clear = comparing.clear_of_threshold(model, expected)
    scores = np.where(expected["accept"][:, None], expected["probabilities"], 0.0)
    _require_number("scores", answer["scores"][clear, :-1], scores[clear], model)
    refused = (~expected["accept"]).astype(np.float32)
    comparing.require_equal("scores", answer["scores"][clear, -1], refused[clear])


def request_of(model: Detector, x: Any) -> dict[str, tf.Tensor]:
    """Raw rows `x` as a request holds them: tensors by the names served."""
    if inputs.input_kind(model.model) != "table":
        return inputs.request_of(model.model, x)
    encoder = cast(TableEncoder, model.model.preprocessor)
    schema = TableSchema.from_config(encoder.schema)
    columns = inputs.split_columns(schema, np.asarray(x))
    specs = inputs.column_specs(schema)
    return {name: tf.constant(v, specs[name].dtype) for name, v in columns.items()}


def _compare_rates(loaded, request, model, x):
    """Compares `at_rate` at the detector's rate and half-way from there to all."""
    rates = np.full(rows.num_rows(x), model.target_fpr)
    rates[1::2] = 0.5 * (1.0 + model.target_fpr)
    tensor = tf.constant(rates, tf.float32)
    served = _answers(loaded, "at_rate", {**request, inputs.RATE: tensor})
    expected = _expected(model.decide(rows.tensors(x), tensor))
    return comparing.compare_decisions("at_rate", served, expected, model, rates)


def _compare_encoded(loaded, model, x, expected):
    """Compares the answers to PNG files, and to bytes that are no image at the end."""
    files = [tf.io.encode_png(row).numpy() for row in x]
    encoded = tf.constant([*files, b"no image"])
    served = _answers(loaded, "encoded", {"images": encoded})
    _, refusals = decode_rows(encoded, tuple(model.model.raw_spec().shape[1:]))
    refused = {}
    for name in OUTPUTS.keys() & expected.keys():
        values, nothing = expected[name], OUTPUTS[name].unread
        nothing = nothing.encode() if isinstance(nothing, str) else nothing
        nothing = refusals.numpy()[-1] if name == "reason" else nothing
        last = np.full((1, *values.shape[1:]), nothing, values.dtype)
        refused[name] = np.concatenate([values, last])
    return comparing.compare_decisions("encoded", served, refused, model)


def _compare_contributions(served, explainer, x):
    comparing.require_names("explain", served, CONTRIBUTIONS)
    served = _numbers(served)
    expected = explainer.contributions(x)
    differences = {}
    for name in CONTRIBUTIONS:
        values = getattr(expected, name).numpy()
        values = np.where(np.isfinite(values), values, np.nan)
        differences[name] = comparing.difference(name, served[name], values)
        comparing.require_close(name, differences[name], values)
    return differences


def _compare_changes(served, explainer, x, request, decision):
    comparing.require_names("acceptable", served, (*request, *CHANGE))
    served = _numbers(served)
    clear = comparing.clear_of_threshold(explainer.detector, decision)
    expected = explainer.acceptable(x).found.numpy()
    comparing.require_equal("found", served["found"][clear], expected[clear])
    moved = served["found"] & ~decision["accept"] & clear
    changed = _changed_rows(served, explainer, x)
    rows = changed[moved]
    if len(rows):
        again = explainer.detector.predict(rows, batch_size=len(rows))
        comparing.require_equal("found", again["accept"], np.ones(len(rows), bool))
        _require_number("energy", served["energy"][moved], again["energy"])
    _compare_distances(served, explainer, x, changed, decision, moved, clear)
    _compare_cells(served, request, moved, clear)


def _numbers(served: dict) -> dict:
    """Served numbers with NaN where `LARGEST` says that there is none."""
    return {
        name: np.where(values == LARGEST, np.nan, values)
        if values.dtype.kind == "f"
        else values
        for name, values in served.items()
    }


def _require_number(name, served, expected, model=None):
    tolerance = comparing.tolerance_of(model) if model else comparing.TOLERANCE
    found = comparing.difference(name, served, expected)
    comparing.require_close(name, found, expected, tolerance=tolerance)


def _compare_distances(served, explainer, x, changed, decision, moved, clear):
    """How far rows were moved, in feature space; 0 and infinity where they were not."""
    encode = explainer.detector.model.preprocess
    steps = (encode(changed) - encode(np.asarray(x, changed.dtype))).numpy()
    length = np.linalg.norm(steps[:, : explainer.encoder.num_numeric], axis=1)
    still = np.where(decision["accept"], 0.0, np.nan)
    expected = np.where(moved, length, still)
    _require_number("distance", served["distance"][clear], expected[clear])


def _compare_cells(served, request, moved, clear):
    """Rows that did not move have the cells that came, and words are never changed."""
    for name, cells in request.items():
        came = cells.numpy()
        rows = clear if came.dtype == object else clear & ~moved
        # What is no number, such as a missing cell, comes back as none.
        absent = np.zeros(len(came), bool)
        if came.dtype.kind == "f":
            absent = np.isnan(served[name]) & ~np.isfinite(came)
        same = (served[name] == came) | absent
        same = same.reshape(len(same), -1).all(axis=1)
        comparing.require_equal(name, same[rows], np.ones(int(rows.sum()), bool))


def _changed_rows(served, explainer, x):
    rows = np.array(x, explainer.encoder.input_dtype)
    if inputs.input_kind(explainer.detector.model) != "table":
        (name,) = inputs.input_specs(explainer.detector.model)
        return served[name]
    schema = TableSchema.from_config(explainer.encoder.schema)
    for position, name in enumerate(inputs.column_names(schema).values()):
        if schema.columns[position].kind == "numeric":
            rows[:, position] = served[name]
    return rows
