"""Writes a detector as a versioned SavedModel that TF Serving can load."""

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.data.images import decode_images
from keras_ebm.data.schema import TableSchema
from keras_ebm.explain import Explainer
from keras_ebm.ood import Detector
from keras_ebm.serving import explanations, inputs
from keras_ebm.serving.verify import verify

SCORER_OUTPUTS = ("energy", "ood_score", "p_value", "accept", "reason")
CLASSIFIER_OUTPUTS = ("class_id", "label", "probabilities", *SCORER_OUTPUTS)
CARD = Path("assets.extra") / "keras_ebm.json"


def export_classifier(
    detector: Detector, output, x: np.ndarray, *, explainer: Explainer | None = None
) -> Path:
    """Exports class, probabilities, energy, p-value and accept flag.

    Args:
        detector: `Detector` of a model with classes.
        output: folder `DIR/NAME`; the SavedModel goes to `DIR/NAME/1`, the
            next call's to `2`, as TF Serving expects.
        x: raw rows that the export is verified on, at least one.
        explainer: optional `keras_ebm.explain.Explainer` of this detector. Then
            there are the signatures `explain` and `acceptable` too.

    Returns:
        Path of the version that was written.

    Raises:
        ValueError: if the model has no classes, `output` is no such folder, or the
            explainer is of another detector.
        RuntimeError: if the export does not agree with the model; nothing is
            left behind then.
    """
    if detector.model.num_classes < 2:
        raise ValueError(
            "`detector` must hold a model with classes. Received: a density with "
            "one logit; use `export_ood_scorer`."
        )
    return _export(detector, output, x, CLASSIFIER_OUTPUTS, explainer)


def export_ood_scorer(
    detector: Detector, output, x: np.ndarray, *, explainer: Explainer | None = None
) -> Path:
    """Exports energy, score, p-value and accept flag; see `export_classifier`."""
    return _export(detector, output, x, SCORER_OUTPUTS, explainer)


def _export(detector, output, x, names, explainer) -> Path:
    if explainer is not None:
        explanations.check_explainer(explainer, detector)
    folder = Path(output)
    version = next_version(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Written beside the folder and renamed: a server that watches the folder
    # never sees half a version.
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        saved = staging / str(version)
        write_saved_model(detector, saved, names, explainer)
        verify(saved, detector, x, explainer)
        folder.mkdir(exist_ok=True)
        os.rename(saved, folder / str(version))
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder / str(version)


def next_version(folder: Path) -> int:
    """The number of the next version in an export folder.

    Raises:
        ValueError: if `folder` is a file, or holds anything but versions.
    """
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        raise ValueError(
            "`output` must be a new folder, or one that holds numbered versions "
            f"alone. Received: {folder}, where {nearest} is a file."
        )
    if not folder.exists():
        return 1
    entries = list(folder.iterdir())
    other = [e.name for e in entries if not (e.is_dir() and e.name.isdecimal())]
    if other:
        raise ValueError(
            "`output` must be a new folder, or one that holds numbered versions "
            f"alone. Received: {folder}, which holds {other[0]!r}."
        )
    return max((int(entry.name) for entry in entries), default=0) + 1


def write_saved_model(detector: Detector, path: Path, names, explainer=None) -> None:
    """Writes one SavedModel with every signature of `signatures`.

    With an explainer, also those of `explanation_signatures`.
    """
    archive = keras.export.ExportArchive()
    archive.track(detector.model.network)
    endpoints = signatures(detector, names)
    card = model_card(detector, names)
    if explainer is not None:
        endpoints |= explanations.explanation_signatures(explainer)
        card["explain"] = explanations.explanation_card(explainer)
    for name, (function, specs) in endpoints.items():
        archive.add_endpoint(name, function, input_signature=specs)
    # Both Keras and TensorFlow announce what they write on standard output.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        archive.write_out(str(path), verbose=False)
    (path / CARD).parent.mkdir(exist_ok=True)
    (path / CARD).write_text(json.dumps(card, indent=2) + "\n", "utf-8")


def signatures(detector: Detector, names) -> dict:
    """Signature name to `(function, specs)`.

    `serving_default` takes raw inputs and `at_rate` a `target_fpr` for each
    row besides; image models have `encoded`, which takes PNG or JPEG bytes.
    """
    model = detector.model

    def decide(x, target_fpr=None):
        decision = detector.decide(x, target_fpr)
        return {name: decision[name] for name in names}

    rate = tf.TensorSpec((None,), tf.float32, name=inputs.RATE)
    kind = inputs.input_kind(model)
    if kind == "table":
        return _table_signatures(model, decide, rate)
    raw = model.raw_spec()
    found = {
        "serving_default": (lambda inputs: decide(inputs), [raw]),
        "at_rate": (lambda inputs, target_fpr: decide(inputs, target_fpr), [raw, rate]),
    }
    if raw.dtype == tf.uint8:
        shape = tuple(raw.shape[1:])

        def encoded(images):
            return decide(decode_images(images, shape))

        found["encoded"] = (encoded, [tf.TensorSpec((None,), tf.string, "images")])
    return found


def _table_signatures(model, decide, rate):
    schema = TableSchema.from_config(model.preprocessor.schema)
    specs = inputs.column_specs(schema)

    def default(columns):
        return decide(inputs.encode_columns(schema, columns))

    def at_rate(columns):
        return decide(inputs.encode_columns(schema, columns), columns[inputs.RATE])

    return {
        "serving_default": (default, [specs]),
        "at_rate": (at_rate, [{**specs, inputs.RATE: rate}]),
    }


def model_card(detector: Detector, names) -> dict:
    """What a reader of the SavedModel should know, as JSON-ready values."""
    conformal = detector.conformal
    threshold = np.asarray(conformal.threshold(detector.target_fpr)).tolist()
    card = {
        "outputs": list(names),
        "score": detector.score.name,
        "target_fpr": detector.target_fpr,
        "threshold": threshold,
        "per_class": conformal.by_class,
        "calibration_rows": int(conformal.sizes.sum()),
        # Of each predicted class, where they are compared within it.
        "calibration_rows_by_class": conformal.sizes.tolist()
        if conformal.by_class
        else None,
        "class_names": detector.class_names if detector.model.num_classes > 1 else [],
        "sign": "higher scores are more out-of-distribution; accept is p_value > rate",
    }
    if inputs.input_kind(detector.model) == "table":
        schema = TableSchema.from_config(detector.model.preprocessor.schema)
        card["columns"] = inputs.column_names(schema)
        card["missing"] = list(schema.missing)
    return card
