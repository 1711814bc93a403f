"""Gives a SavedModel other thresholds, as new known rows ask for, and nothing else."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_ebm import files
from keras_ebm.arguments import listed
from keras_ebm.ood import ConformalDetector, judge
from keras_ebm.serving.export import (
    conformal_card,
    finish,
    next_version,
    publish,
)
from keras_ebm.serving.inputs import LARGEST, RATE
from keras_ebm.serving.outputs import complete, restore
from keras_ebm.serving.signatures import Served, signatures
from keras_ebm.serving.warm_up import requests_of

#: Rows that are asked at once.
BATCH = 256
#: What a recalibrated export cannot give, as it was made for the thresholds before.
LEFT_OUT = "acceptable"


class Measuring(tf.Module):
    """What an export measures of its inputs, whatever its calibration.

    Args:
        base: the loaded SavedModel, which is kept with it.
    """

    def __init__(self, base: Any):
        super().__init__()
        self.base = base
        earlier = getattr(base, "measure", None)
        if earlier is None:
            specs = _inputs_of(base)
            earlier = tf.function(self._refuse_all, [specs], autograph=False)
        self.measure = earlier

    def _refuse_all(self, given):
        """All outputs but the decision: `reason` is why a row would be refused."""
        count = tf.shape(next(iter(given.values())))[:1]
        asked = {**given, RATE: tf.ones(count)}
        answers = dict(self.base.signatures["at_rate"](**asked))
        return {k: v for k, v in answers.items() if k not in ("p_value", "accept")}


def _inputs_of(loaded) -> dict[str, tf.TensorSpec]:
    """Specs of the inputs of an export, by the names served."""
    return dict(loaded.signatures["serving_default"].structured_input_signature[1])


def recalibrate(
    loaded: Any,
    card: dict,
    request: dict[str, np.ndarray],
    output: Path,
    *,
    target_fpr: float | None = None,
    per_class: bool = False,
) -> tuple[Path, ConformalDetector]:
    """Writes the next version of an export, with thresholds of other known rows.

    The network and its weights, the score, the preprocessing and the names stay. What
    is promised is promised anew, of inputs like these rows.

    Args:
        loaded: the export, as `tf.saved_model.load` gives it.
        card: what the export says of itself.
        request: known rows that nothing of the model was fitted or chosen on: arrays
            `(rows, ...)` by the names served.
        output: folder of the export, which the version is written to.
        target_fpr: float in (0, 1); None: the export's own.
        per_class: bool, calibrate within each predicted class.

    Returns:
        `(path, conformal)`: the version, and the `ConformalDetector` in it.

    Raises:
        OSError: if it cannot be written; nothing is left behind then.
        ValueError: if the request is none of the export's, the rows cannot keep the
            rate, one of them has no score, or classes are asked of an export without.
        RuntimeError: if the new version does not answer as it should.
    """
    rate = card["target_fpr"] if target_fpr is None else float(target_fpr)
    request = _checked(request, _inputs_of(loaded))
    measuring = Measuring(loaded)
    measured = _measured(measuring, request)
    conformal = _calibrated(measured, card, per_class)
    conformal.check_rate(rate)
    what = _served(measuring, card, conformal, rate)
    folder = Path(output)
    parent = folder.resolve().parent
    with files.naming(folder), files.staging_folder(parent) as staging:
        saved = staging / str(next_version(folder))
        endpoints = _endpoints(what, loaded)
        functions = {
            name: tf.function(function, specs, autograph=False)
            for name, (function, specs) in endpoints.items()
        }
        tf.saved_model.save(measuring, str(saved), signatures=functions)
        first = {name: tf.constant(part[:1]) for name, part in request.items()}
        requests = requests_of(what, first, rate)
        if "explain" in endpoints:
            requests["explain"] = first
        finish(saved, _card(card, conformal, rate), endpoints, requests)
        _verify(saved, request, measured, conformal, rate)
        files.sync_tree(saved)
        return publish(saved, folder), conformal


def _checked(request: Any, specs: dict[str, tf.TensorSpec]) -> dict[str, np.ndarray]:
    """The arrays of a request; raises ValueError unless an export takes them."""
    names = set(request) if isinstance(request, dict) else None
    counts = {len(part) for part in request.values()} if names else set()
    if names != set(specs) or len(counts) != 1:
        given = f"{len(counts)} numbers of rows under {sorted(names or ())}"
        raise ValueError(
            "`request` must be a dict of arrays of as many rows by the names that the "
            f"export serves, {listed(map(repr, specs))}. Received: "
            f"{type(request).__name__ if names is None else given}; an export of one "
            'input takes {"inputs": rows}.'
        )
    return {name: np.asarray(part) for name, part in request.items()}


def _measured(measuring: Measuring, request: dict) -> dict[str, np.ndarray]:
    """What an export measures of all rows, in batches."""
    count = len(next(iter(request.values())))
    parts = []
    for start in range(0, count, BATCH):
        part = {k: tf.constant(v[start : start + BATCH]) for k, v in request.items()}
        parts.append({k: v.numpy() for k, v in measuring.measure(part).items()})
    return {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}


def _calibrated(measured, card, per_class) -> ConformalDetector:
    if per_class and "class_id" not in measured:
        raise ValueError(
            "`per_class` needs the predicted classes, which a scorer does not give. "
            "Received: per_class=True for an export of keras-ebm export-ood-scorer; "
            "leave it out."
        )
    scores = _scores(measured)
    if np.isnan(scores).any():
        first = int(np.isnan(scores).argmax())
        raise ValueError(
            "`calibration` must have a score in every row. Received: "
            f"{np.isnan(scores).sum()} of {len(scores)} rows without one, the first of "
            f"them row {first}: {measured['reason'][first].decode()}. Find out why; "
            "leaving such rows out would void the false-alarm rate."
        )
    classes = measured["class_id"] if per_class else None
    count = len(card["class_names"]) if per_class else None
    return ConformalDetector(scores, calibration_classes=classes, num_classes=count)


def _scores(measured) -> np.ndarray:
    """Scores, NaN where there is none, which exports of earlier versions serve so."""
    unread = measured["ood_score"] == np.float32(LARGEST)
    return np.where(unread, np.nan, measured["ood_score"])


def _served(measuring, card, conformal, rate) -> Served:
    specs = _inputs_of(measuring.base)
    loaded = measuring.base.signatures
    image_shape = None
    if "encoded" in loaded:
        (spec,) = specs.values()
        image_shape = tuple(spec.shape[1:])

    def answer(given, asked):
        measured = measuring.measure(given)
        score = measured["ood_score"]
        none = score == LARGEST
        measured = measured | {"ood_score": tf.where(none, float("nan"), score)}
        return judge(measured, conformal, rate if asked is None else asked)

    with_classes = "class_id" in loaded["serving_default"].structured_outputs
    return Served(
        specs,
        answer,
        tuple(card["class_names"]) if with_classes else (),
        image_shape,
        tuple(card["missing"]) if "columns" in card else None,
    )


def _endpoints(what: Served, loaded) -> dict[str, tuple[Callable, list]]:
    """Signatures of `what`, and `explain` where the export has it."""
    endpoints = signatures(what)
    if LEFT_OUT in loaded.signatures:
        warnings.warn(
            f"the signature {LEFT_OUT} is left out, as it was made for the thresholds "
            "before; export the model again to have it",
            stacklevel=3,
        )
    if "explain" in loaded.signatures:
        explain = loaded.signatures["explain"]
        specs = dict(explain.structured_input_signature[1])
        endpoints["explain"] = (lambda given: explain(**given), [specs])
    return endpoints


def _card(card: dict, conformal: ConformalDetector, rate: float) -> dict:
    explained = {k: v for k, v in card.items() if k != "files"}
    if "about" in card:
        # What was held out was measured with the thresholds before.
        about = {k: v for k, v in card["about"].items() if k != "held_out"}
        explained["about"] = about
    before = card.get("recalibrated", [])
    own = {"calibration_sha256": card.get("calibration_sha256")}
    return {
        **explained,
        **conformal_card(conformal, rate),
        # The calibrations that this one takes the place of, the latest last.
        "recalibrated": [*before, own],
    }


def _verify(saved: Path, request, measured, conformal, rate) -> None:
    """Raises RuntimeError unless a version answers as its calibration says."""
    loaded = tf.saved_model.load(str(saved))
    part = {name: values[:BATCH] for name, values in request.items()}
    tensors = {name: tf.constant(values) for name, values in part.items()}
    answers = loaded.signatures["serving_default"](**tensors)
    served = restore({name: value.numpy() for name, value in answers.items()})
    rows = {
        name: tf.constant(values[: len(served["accept"])])
        for name, values in measured.items()
    }
    expected = restore(
        {k: v.numpy() for k, v in complete(judge(rows, conformal, rate)).items()}
    )
    for name, values in expected.items():
        if values.dtype.kind == "f":
            same = np.allclose(served[name], values, rtol=1e-5, atol=1e-6)
        else:
            same = np.array_equal(served[name], values)
        if not same:
            raise RuntimeError(
                f"The recalibrated export disagrees: `{name}` differs from what the "
                "calibration says. No version was written; export the model again."
            )
