"""Runs side by side: their measures, and the differences with intervals."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_ebm import metrics
from keras_ebm.arguments import listed
from keras_ebm.digests import array_digest
from keras_ebm.rows import num_rows
from keras_ebm.trainers.program import folders
from keras_ebm.trainers.report.measures import classification_measures
from keras_ebm.trainers.run import record
from keras_ebm.trainers.run.scoring import open_run, score_rows

#: Flags that say where a run is, not what it is.
_PLACES = ("workdir", "data_dir", "verbose", "resume", "auto_resume", "tensorboard")
#: What the flag of a run that does not have it is shown as.
ABSENT = "–"


class Answers(NamedTuple):
    """What a run's model says of its rows.

    Attributes:
        classes: `(log_probabilities, labels)` of the labelled rows, or None.
        known: by score, `(num_known,)`.
        foreign: by foreign set and score, `(num_foreign,)`.
        measures: values of the known rows.
        digest: of the known rows and labels.
    """

    classes: tuple[np.ndarray, np.ndarray] | None
    known: dict[str, np.ndarray]
    foreign: dict[str, dict[str, np.ndarray]]
    measures: dict[str, float]
    digest: str


def model_file(run: str) -> str:
    """The model of a run folder, or the file itself.

    Raises:
        ValueError: if there is none.
    """
    path = Path(run)
    path = path / folders.MODEL_FILE if path.is_dir() else path
    if not path.is_file():
        raise ValueError(
            f"`compare` must name folders of finished runs. Received: {run}, where "
            f"there is no {folders.MODEL_FILE}; correct the path, or finish the run."
        )
    return str(path)


def check_runs(runs: list[str], dataset: str = "") -> list[str]:
    """The models of runs that can be compared.

    Args:
        runs: folders.
        dataset: spec of rows that all of them are measured on; empty: each on its own
            test split, which must then be of the same data.

    Raises:
        ValueError: if there are fewer than two, one of them twice, or they are of other
            classes, or of other data.
    """
    paths = [model_file(run) for run in runs]
    if len(set(map(_real, paths))) < max(2, len(paths)):
        raise ValueError(
            "`compare` must name at least two runs, each once. Received: "
            f"{listed(runs)}; write --compare runs/a runs/b."
        )
    records = [record.read_record(path) for path in paths]
    for name, of in (
        ("classes", lambda own: own["class_names"]),
        ("data", lambda own: dataset or own["data"]["dataset"]),
    ):
        for run, own in zip(runs[1:], records[1:], strict=True):
            if of(own) != of(records[0]):
                raise ValueError(
                    f"`compare` needs runs of the same {name}. Received: {runs[0]} of "
                    f"{_short(of(records[0]))}, and {run} of {_short(of(own))}; "
                    "compare runs of one task, or give rows for both by --dataset."
                )
    return paths


def _real(path: str) -> str:
    return str(Path(path).resolve())


def _short(value) -> str:
    return (listed(map(str, value)) if isinstance(value, list) else str(value))[:200]


def answers(settings: Any, foreign_specs: list[str]) -> Answers:
    """Loads a run's model and asks it.

    Args:
        settings: `EvaluateSettings` with `model`.
        foreign_specs: specs for `keras_ebm.data.foreign`.
    """
    model, run, (x, y) = open_run(settings)
    scored = score_rows(model, run, x, y, foreign_specs, settings)
    measures: dict[str, float] = {"num_known": num_rows(x)}
    classes = None
    if model.num_classes > 1:
        measures |= classification_measures(model, scored.logits, y)
        labelled = y >= 0
        logits = scored.logits[labelled].astype(np.float64)
        classes = model.to_log_probabilities(logits).numpy(), y[labelled]
    digest = array_digest([*map(np.asarray, tf.nest.flatten(x)), y])
    return Answers(classes, scored.known, scored.foreign, measures, digest)


def compare(settings: Any, runs: list[str], foreign_specs: list[str]) -> dict:
    """Measures runs, and the differences of each from the first.

    Where all runs are measured on the same rows, resamples of rows are the same for
    all, so that what is hard for both runs cancels; else each has its own. The
    intervals cover the choice of test rows alone, not that of the training seed.

    Args:
        settings: `EvaluateSettings`; its `model` is not looked at.
        runs: folders of runs.
        foreign_specs: specs for `keras_ebm.data.foreign`.

    Returns:
        `runs`: by folder `num_known`, the measures of classes, and `ood`: foreign set
        -> score -> `auroc`, `aupr`, `fpr95`. `differences`: by folder but the first the
        same with `value`, `low` and `high` (95 %) for each. `same_rows`, `against`,
        and `flags`: those that the runs do not share, by run.

    Raises:
        ValueError: see `check_runs`.
    """
    paths = check_runs(runs, settings.dataset)
    own = {}
    for run, path in zip(runs, paths, strict=True):
        dataset = settings.dataset or record.read_record(path)["data"]["dataset"]
        changed = dataclasses.replace(settings, model=path, dataset=dataset)
        own[run] = answers(changed, foreign_specs)
    same_rows = len({answer.digest for answer in own.values()}) == 1
    drawn = {}
    for place, (run, answer) in enumerate(own.items()):
        # Seeds are apart where rows are.
        seed = settings.seed + (0 if same_rows else place)
        drawn[run] = _resampled(answer, settings.resamples, seed)
    measured = {run: _measured(answer) for run, answer in own.items()}
    first, *others = runs
    return {
        "against": first,
        "same_rows": same_rows,
        "resamples": settings.resamples,
        "runs": measured,
        "differences": {
            run: _differences(measured[first], measured[run], drawn[first], drawn[run])
            for run in others
        },
        "flags": other_flags(dict(zip(runs, paths, strict=True))),
    }


def _measured(answer: Answers) -> dict:
    """Values of a run, nested as in the result of `compare`."""
    found: dict[str, Any] = dict(answer.measures)
    found["ood"] = {
        spec: {
            name: {
                "auroc": metrics.auroc(answer.known[name], own),
                "aupr": metrics.aupr(answer.known[name], own),
                "fpr95": metrics.fpr_at_recall(answer.known[name], own, 0.95),
            }
            for name, own in scores.items()
        }
        for spec, scores in answer.foreign.items()
    }
    return found


def _resampled(answer: Answers, num_resamples: int, seed: int) -> dict:
    """The same with an array `(num_resamples,)` for each value."""
    found: dict[str, Any] = {}
    if answer.classes is not None and len(answer.classes[1]):
        found |= _resampled_classes(*answer.classes, num_resamples, seed)
    found["ood"] = {
        spec: {
            name: metrics.resampled_detection(
                answer.known[name], own, num_resamples=num_resamples, seed=seed
            )
            for name, own in scores.items()
        }
        for spec, scores in answer.foreign.items()
    }
    return found


def _resampled_classes(log_p, labels, num_resamples, seed) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    p, rows = np.exp(log_p), np.arange(len(labels))
    one_row = {
        "accuracy": (p.argmax(axis=-1) == labels).astype(float),
        "nll": -log_p[rows, labels],
        "brier": np.sum((p - np.eye(p.shape[1])[labels]) ** 2, axis=-1),
    }
    draws = rng.integers(len(labels), size=(num_resamples, len(labels)))
    found = {name: values[draws].mean(axis=1) for name, values in one_row.items()}
    errors = [
        metrics.expected_calibration_error(p[drawn], labels[drawn]) for drawn in draws
    ]
    return found | {"ece": np.array(errors)}


def _differences(first: dict, other: dict, drawn_first: dict, drawn: dict) -> dict:
    """Differences of all values that both have resamples of."""
    found = {}
    for name, values in drawn.items():
        if name not in drawn_first or name not in first or name not in other:
            continue
        if isinstance(values, dict):
            pair = first[name], other[name], drawn_first[name], values
            found[name] = _differences(*pair)
        else:
            low, high = np.quantile(values - drawn_first[name], [0.025, 0.975])
            value = other[name] - first[name]
            found[name] = {"value": value, "low": float(low), "high": float(high)}
    return found


def other_flags(paths: dict[str, str]) -> dict[str, dict[str, str]]:
    """Flags of the runs that are not the same in all of them, by run.

    None where a run kept none.
    """
    given = {run: _flags(Path(path).parent) for run, path in paths.items()}
    if not all(given.values()):
        # One of them was trained from Python.
        return {run: {} for run in given}
    names = dict.fromkeys(name for flags in given.values() for name in flags)
    # A switch is --name where it is on, and --noname in the runs where it is off.
    for name in [name for name in names if f"no{name}" in names]:
        del names[f"no{name}"]
        for flags in given.values():
            if flags.pop(f"no{name}", None):
                flags[name] = "false"
    apart = [
        name
        for name in names
        if name not in _PLACES
        and len({flags.get(name, ABSENT) for flags in given.values()}) > 1
    ]
    return {
        run: {name: flags.get(name, ABSENT) for name in apart}
        for run, flags in given.items()
    }


def _flags(folder: Path) -> dict[str, str]:
    """The flags that a run was given, by name; none where it kept none.

    Those of switches stand as they are written, `--noNAME` where one is off.
    """
    path = folder / folders.FLAGS_FILE
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    found = {}
    for line in lines:
        name, sign, value = line.removeprefix("--").partition("=")
        found[name] = value if sign else "true"
    return found
