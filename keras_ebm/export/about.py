"""What a card tells beside the decision: data, training, held-out and foreign rows."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_probability as tfp

from keras_ebm import ood
from keras_ebm.metrics import expected_calibration_error
from keras_ebm.rows import num_rows, take
from keras_ebm.trainers.program import json_files
from keras_ebm.trainers.run import record
from keras_ebm.trainers.run.backup import DOCTOR_FILE, HISTORY_FILE, METRICS_FILE

#: Held-out rows that are asked at most.
MOST_ROWS = 5000
EVALUATION_SHAPE = {"ood": dict}


def about(settings, detector: ood.Detector) -> dict[str, Any]:
    """Measures for the card of an export; see `keras_ebm.serving.page.ABOUT`.

    Args:
        settings: `ExportSettings`.
        detector: what is exported.
    """
    found = {"data": _data(settings.model), "training": _training(settings.model)}
    if record.is_training_data(settings.model, settings.calibration, settings.data_dir):
        found["held_out"] = _held_out(settings, detector)
    if settings.evaluation:
        found["foreign"] = _foreign(settings.evaluation)
    return {name: values for name, values in found.items() if values}


def exact_interval(count: int, total: int, coverage: float = 0.95) -> tuple:
    """The exact interval of Clopper and Pearson for one look at a share.

    Args:
        count: int, rows that count.
        total: int >= 1, all rows.
        coverage: float in (0, 1).

    Returns:
        `(low, high)`.
    """
    tail = 0.5 * (1.0 - coverage)
    low, high = 0.0, 1.0
    if count:
        law = tfp.distributions.Beta(np.float64(count), np.float64(total - count + 1))
        low = float(law.quantile(tail))
    if count < total:
        law = tfp.distributions.Beta(np.float64(count + 1), np.float64(total - count))
        high = float(law.quantile(1.0 - tail))
    return low, high


def _data(model: str) -> dict:
    recorded = record.read_record(model)
    kept = {"fingerprint": recorded["fingerprint"]}
    kept["dataset"] = recorded["data"]["dataset"]
    kept["seed"] = recorded["data"]["seed"]
    if recorded["data"].get("holdout_classes"):
        kept["classes held out"] = list(recorded["data"]["holdout_classes"])
    return kept | {"rows": recorded.get("rows", {})}


def _training(model: str) -> dict:
    """Measures of the run on its test rows, and how its losses ended."""
    folder, found = Path(model).parent, {}
    if (folder / METRICS_FILE).is_file():
        found = _finite(json_files.read_json(folder / METRICS_FILE))
    if (folder / HISTORY_FILE).is_file():
        with (folder / HISTORY_FILE).open(encoding="utf-8", newline="") as file:
            epochs = list(csv.DictReader(file))
        if epochs:
            last = {f"{k}, last epoch": _number(v) for k, v in epochs[-1].items()}
            found |= {"epochs": len(epochs), **_finite(last)}
            for name in ("epoch", "doctor"):
                found.pop(f"{name}, last epoch", None)
    if (folder / DOCTOR_FILE).is_file():
        found |= _health(json_files.read_json(folder / DOCTOR_FILE))
    return found


def _health(report: Any) -> dict:
    """What the doctor of the run said, where its file is one."""
    if not isinstance(report, dict) or not isinstance(report.get("state"), str):
        return {}
    findings = report.get("findings")
    states = [
        str(one["state"])
        for one in (findings if isinstance(findings, list) else [])
        if isinstance(one, dict) and "state" in one
    ]
    found = {"state of the run at its end": report["state"]}
    return found | {
        "states it was found in": ", ".join(dict.fromkeys(states)) or "none"
    }


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _finite(values: dict) -> dict:
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def _held_out(settings, detector: ood.Detector) -> dict:
    """Refusals and answers on the run's test rows, which nothing was chosen on."""
    run = record.recall(settings.model, settings.calibration, settings.data_dir)
    x, y = run.rows("test")
    total = min(num_rows(x), MOST_ROWS)
    if not total:
        return {}
    answers = detector.predict(take(x, slice(total)))
    refused = int(np.sum(~answers["accept"]))
    low, high = exact_interval(refused, total)
    found = {
        "num_rows": total,
        "refused": refused,
        "refused_share": refused / total,
        "refused_low": low,
        "refused_high": high,
    }
    conformal = detector.conformal
    if not conformal.by_class and type(conformal) is ood.ConformalDetector:
        rows = int(conformal.sizes.sum())
        ends = ood.conformal_band(detector.target_fpr, rows, total)
        found |= dict(zip(("expected_low", "expected_high"), ends, strict=True))
    return found | _answers(answers, np.asarray(y)[:total])


def _answers(answers: dict, labels: np.ndarray) -> dict:
    known = labels >= 0
    if "class_id" not in answers or not known.any():
        return {}
    right = answers["class_id"][known] == labels[known]
    found = {"accuracy": float(right.mean())}
    probabilities = answers["probabilities"][known]
    error = expected_calibration_error(probabilities, labels[known])
    found["ece"] = float(error)
    accepted = answers["accept"][known]
    if accepted.any():
        found["accepted_accuracy"] = float(right[accepted].mean())
    return found


def _foreign(path: str) -> dict:
    """AUROC by foreign set and score, of what `keras-ebm evaluate --output` wrote."""
    remedy = "give the file that keras-ebm evaluate --output wrote"
    results = json_files.read_shaped(Path(path), EVALUATION_SHAPE, remedy)
    found = {}
    for spec, scores in results["ood"].items():
        own = scores if isinstance(scores, dict) else {}
        values = {k: v.get("auroc") for k, v in own.items() if isinstance(v, dict)}
        if not values or len(_finite(values)) < len(values):
            raise ValueError(
                f"{path}: `ood` must have an `auroc` for each score of each foreign "
                f"set. Received: {spec!r} without; {remedy}."
            )
        found[spec] = values
    return found
