"""Writes a detector as a versioned SavedModel that TF Serving can load."""

import contextlib
import errno
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from keras_ebm import files, rows
from keras_ebm.data.schema import TableSchema
from keras_ebm.digests import array_digest, file_digests
from keras_ebm.explain import Explainer
from keras_ebm.layers import TableEncoder
from keras_ebm.ood import (
    ConformalDetector,
    CrossConformalDetector,
    Detector,
    Score,
)
from keras_ebm.serving import explanations, inputs
from keras_ebm.serving.drift import reference_state, references_of
from keras_ebm.serving.outputs import output_names
from keras_ebm.serving.page import card_page, check_about
from keras_ebm.serving.signatures import METHODS, REFUSED, served, signatures
from keras_ebm.serving.verify import request_of, verify
from keras_ebm.serving.warm_up import requests_of, write_warm_up

CARD = Path("assets.extra") / "keras_ebm.json"
PAGE = Path("assets.extra") / "card.html"
#: TF Serving reads a version's number into 64 bits.
LAST_VERSION = 2**63 - 1
#: Bytes of a score's arrays in an export, below the 2 GB of a graph.
MOST_KEPT = 1_900_000_000
#: What a disk may say that does not take what is written.
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


def export_classifier(
    detector: Detector,
    output: str | os.PathLike,
    x: Any,
    *,
    explainer: Explainer | None = None,
    about: dict[str, Any] | None = None,
) -> Path:
    """Exports class, probabilities, energy, p-value, accept flag and the reason.

    Beside the SavedModel stand requests that warm a server up, and a card of what the
    answers rest on, as JSON and as `card.html`.

    Args:
        detector: `Detector` of a model with classes.
        output: folder `DIR/NAME`; the SavedModel goes to `DIR/NAME/1`, the
            next call's to `2`, as TF Serving expects.
        x: raw rows that the export is verified on, at least one, as
            `Detector.calibrate` takes them.
        explainer: optional `keras_ebm.explain.Explainer` of this detector. Then
            there are the signatures `explain` and `acceptable` too.
        about: what else the card should tell, as JSON has it: dicts of measures by the
            keys of `keras_ebm.serving.page.ABOUT`.

    Returns:
        Path of the version that was written. It is complete on the disk then. Of
        several exports at once each takes the next number that is free.

    Raises:
        OSError: if it cannot be written, as where the disk is full; nothing is left
            behind then.
        ValueError: if the model has no classes, `output` is no such folder, the
            explainer is of another detector, or `about` is none that a card can hold.
        RuntimeError: if the export does not agree with the model; nothing is
            left behind then.
    """
    if detector.model.num_classes < 2:
        raise ValueError(
            "`detector` must hold a model with classes. Received: a density with "
            "one logit; use `export_ood_scorer`."
        )
    return _export(detector, output, x, True, explainer, about)


def export_ood_scorer(
    detector: Detector,
    output: str | os.PathLike,
    x: Any,
    *,
    explainer: Explainer | None = None,
    about: dict[str, Any] | None = None,
) -> Path:
    """Exports energy, score, p-value and accept flag; see `export_classifier`."""
    return _export(detector, output, x, False, explainer, about)


def _export(detector, output, x, with_classes, explainer, about) -> Path:
    _check_size(detector.score)
    check_about(about or {})
    if explainer is not None:
        explanations.check_explainer(explainer, detector)
    folder = Path(output)
    version = next_version(folder)
    # Where a link leads, as nothing is renamed from one disk to another.
    parent = Path(os.path.realpath(folder)).parent
    files.make_folder(parent)
    # Written beside the folder, synced and renamed: a server that watches the folder
    # never sees half a version, nor is one left after a power cut.
    with _naming(folder), files.staging_folder(parent) as staging:
        saved = staging / str(version)
        write_saved_model(detector, saved, with_classes, x, explainer, about)
        verify(saved, detector, x, explainer)
        files.sync_tree(saved)
        return publish(saved, folder)


def _check_size(score: Score) -> None:
    """Refuses a score whose arrays do not fit into the graph of a SavedModel."""
    if score.kept_bytes > MOST_KEPT:
        raise ValueError(
            "`detector` must hold a score whose arrays fit into a SavedModel, whose "
            f"graph holds 2 GB: {MOST_KEPT / 1e9:g} GB at most. Received: "
            f"{score.name!r} of {score.kept_bytes / 1e9:.3g} GB; fit it on fewer "
            "training rows, or take a score that keeps none, such as 'energy'."
        )


@contextlib.contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Makes errors of the disk inside the block OSErrors that name the export folder.

    TensorFlow's are none, and name files beside it that are gone by then.
    """
    with files.naming(folder):
        try:
            yield
        except tf.errors.OpError as error:
            causes = (n for n in REFUSALS if f"; {os.strerror(n)}" in error.message)
            number = next(causes, None)
            if number is None:
                raise
            raise OSError(number, os.strerror(number), str(folder)) from error


def publish(saved: Path, folder: Path) -> Path:
    """Gives a SavedModel the next number that is free.

    Args:
        saved: folder of the SavedModel, on the disk of `folder`.
        folder: the export folder; created if absent.

    Returns:
        Path of the version.
    """
    files.make_folder(folder)
    while True:
        path = folder / str(max(versions(folder), default=0) + 1)
        try:
            os.rename(saved, path)
        except OSError as error:
            # Another export has taken the number since it was found.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            files.sync(folder)
            return path


def versions(folder: Path) -> list[int]:
    """The numbers of the versions in an export folder."""
    numbers = (version_number(path) for path in folder.iterdir())
    return [number for number in numbers if number is not None]


def next_version(folder: Path) -> int:
    """The number of the next version in an export folder.

    Raises:
        ValueError: if `folder` is a file, or holds anything but versions, or that of
            the largest number there is.
    """
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        raise ValueError(
            "`output` must be a new folder, or one that holds numbered versions "
            f"alone. Received: {folder}, where {nearest} is a file."
        )
    if not folder.exists():
        return 1
    other = [p.name for p in folder.iterdir() if version_number(p) is None]
    if other:
        raise ValueError(
            "`output` must be a new folder, or one that holds numbered versions "
            f"alone. Received: {folder}, which holds {other[0]!r}."
        )
    numbers = versions(folder)
    if LAST_VERSION in numbers:
        raise ValueError(
            "`output` must have a number left for the next version. Received: "
            f"{folder}, which holds {LAST_VERSION}, the largest that TF Serving "
            "knows; remove it, or give another folder."
        )
    return max(numbers, default=0) + 1


def version_number(path: Path) -> int | None:
    """The version that a folder is of, as TF Serving reads its name; None if of none.

    Only the digits 0 to 9 count, and numbers up to `LAST_VERSION`.
    """
    name = path.name
    if not (path.is_dir() and name.isascii() and name.isdecimal()):
        return None
    return int(name) if int(name) <= LAST_VERSION else None


def write_saved_model(
    detector: Detector,
    path: Path,
    with_classes: bool,
    x: Any,
    explainer: Explainer | None = None,
    about: dict[str, Any] | None = None,
) -> None:
    """Writes one SavedModel with every signature of `signatures`.

    With an explainer, also those of `explanation_signatures`. The first of the rows `x`
    is asked of all of them when a server loads it; see `write_warm_up`.
    """
    archive = keras.export.ExportArchive()
    archive.track(detector.model.network)
    if getattr(detector.model.preprocessor, "built", False):
        # Its vocabularies are tables, which a SavedModel has to know of.
        archive.track(detector.model.preprocessor)
    what = served(detector, with_classes)
    endpoints = signatures(what)
    card = model_card(detector, output_names(detector, with_classes))
    if about:
        card["about"] = about
    first = request_of(detector, rows.take(x, slice(1)))
    requests = requests_of(what, first, detector.target_fpr)
    if explainer is not None:
        endpoints |= explanations.explanation_signatures(explainer)
        card["explain"] = explanations.explanation_card(explainer)
        requests |= dict.fromkeys(("explain", "acceptable"), first)
    for name, (function, specs) in endpoints.items():
        archive.add_endpoint(name, function, input_signature=specs)
    # Standard output is left alone, as it is one for all threads.
    archive.write_out(str(path), verbose=False)
    finish(path, card, endpoints, requests)


def finish(path: Path, card: dict, names: Iterable[str], requests: dict) -> None:
    """Writes what stands beside a SavedModel: methods, warm-up, and its card.

    Args:
        path: folder of the SavedModel.
        card: what a reader should know; names and digests of its files come in.
        names: its signatures.
        requests: see `write_warm_up`.
    """
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(path))
    for name in METHODS.keys() & set(names):
        updater.replace_method_name(name, METHODS[name], "serve")
    updater.save()
    card |= {"signatures": sorted(names), "versions": versions_used()}
    # Without the requests, which a server's keeper may replace.
    card["files"] = file_digests(path)
    write_warm_up(path, requests)
    (path / PAGE).write_text(card_page(card), "utf-8")
    (path / CARD).write_text(json.dumps(card, indent=2) + "\n", "utf-8")


def model_card(detector: Detector, names: Sequence[str]) -> dict:
    """What a reader of the SavedModel should know, as JSON-ready values."""
    card = {
        "outputs": list(names),
        "score": detector.score.name,
        **conformal_card(detector.conformal, detector.target_fpr),
        "class_names": detector.class_names if detector.model.num_classes > 1 else [],
        # Beside them in the answers of the signature `classify`.
        "refused_class": REFUSED if "class_id" in names else None,
        # What the answers rest on: of which split, which weights, which scores.
        "trained_on": detector.model.trained_on,
        "weights_sha256": array_digest(detector.model.network.get_weights()),
        "sign": "higher scores are more out-of-distribution; accept is p_value > rate",
    }
    if inputs.input_kind(detector.model) == "table":
        encoder = cast(TableEncoder, detector.model.preprocessor)
        schema = TableSchema.from_config(encoder.schema)
        card["columns"] = inputs.column_names(schema)
        card["missing"] = list(schema.missing)
        card["ranges"] = _ranges(encoder, schema)
    else:
        raw = detector.model.raw_spec()
        own = list(raw) if isinstance(raw, dict) else [raw.name]
        if own != ["inputs"]:
            card["inputs"] = inputs.served_names(own)
    return card


def _ranges(encoder: TableEncoder, schema: TableSchema) -> dict:
    """What training saw of each column: its least and largest cell, or its words."""
    found: dict[str, dict] = {}
    lows, highs = encoder.low or (), encoder.high or ()
    ends = dict(enumerate(zip(lows, highs, strict=True)))
    for position, column in enumerate(schema.columns):
        low, high = ends.get(position, (None, None))
        if column.kind != "numeric":
            found[column.name] = {"words": list(column.vocabulary)}
        elif low is not None and high is not None and math.isfinite(high - low):
            found[column.name] = {"low": float(low), "high": float(high)}
    return found


def versions_used() -> dict[str, str]:
    """Versions of what wrote an export."""
    names = ("keras_ebm", "tensorflow", "keras", "tensorflow-probability", "numpy")
    found = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def conformal_card(conformal: ConformalDetector, target_fpr: float) -> dict:
    """What a reader should know of a calibration, as JSON-ready values."""
    return {
        "target_fpr": target_fpr,
        "threshold": np.asarray(conformal.threshold(target_fpr)).tolist(),
        "per_class": conformal.by_class,
        "calibration_rows": int(conformal.sizes.sum()),
        # What is promised of inputs like those rows, on the mean over such rows.
        "calibration": "cross"
        if isinstance(conformal, CrossConformalDetector)
        else "split",
        "false_alarms_at_most": conformal.most_refused(target_fpr),
        # Of each predicted class, where they are compared within it.
        "calibration_rows_by_class": conformal.sizes.tolist()
        if conformal.by_class
        else None,
        "calibration_sha256": array_digest([conformal.scores, conformal.classes]),
        # What a `DriftMonitor` ranks p-values among.
        "drift": [reference_state(part) for part in references_of(conformal)],
    }
