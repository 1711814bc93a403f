"""The rows that a model is measured on, and the scores that it is measured by."""

import warnings
from typing import NamedTuple

import numpy as np

from keras_ebm import ood
from keras_ebm.models.base import check_float_input
from keras_ebm.networks import with_features
from keras_ebm.rows import take
from keras_ebm.trainers.program import keras_files
from keras_ebm.trainers.run import record

#: Scores of the energy model itself; the others are free on any classifier.
ENERGY_SCORES = ("energy", "approximate_mass")


class Scored(NamedTuple):
    """What a model says of known and foreign rows.

    Attributes:
        logits: `(rows, K)` of the known rows.
        energies: in nats, `"known"` first, then each foreign set.
        known: values of each score on the known rows, by its name.
        foreign: the same by foreign set.
    """

    logits: np.ndarray
    energies: dict[str, np.ndarray]
    known: dict[str, np.ndarray]
    foreign: dict[str, dict[str, np.ndarray]]


def open_run(settings) -> tuple:
    """`(model, run, (x, y))`: a run's model, its data, and the rows to measure on.

    Raises:
        ValueError: if the model is of another run, or the rows do not fit it.
    """
    with record.held_still(settings.model):
        model = keras_files.load_model(settings.model)
        record.check_bound(model, settings.model)
        run = record.recall(settings.model, data_dir=settings.data_dir)
        return model, run, _known_rows(settings, run)


def score_rows(model, run, x, y, foreign_specs: list[str], settings) -> Scored:
    """Asks a model, by the scores that its run's rows can fit.

    Args:
        model: of the run.
        run: its `RunData`.
        x: known rows.
        y: their labels.
        foreign_specs: specs for `keras_ebm.data.foreign`.
        settings: `EvaluateSettings`.
    """
    skip = settings.skip_broken_images
    rows = {s: record.foreign(s, run, settings.seed, skip) for s in foreign_specs}
    # They are of foreign rows against known ones.
    scores = fitted_scores(model, run, settings.scores) if rows else {}
    needs = frozenset({"logits"}).union(*(s.requires for s in scores.values()))
    outputs = ood.network_outputs(model, x, y, requires=needs)
    logits, energies = outputs["logits"], {"known": _energies(model, outputs)}
    known = {name: score.predict(outputs) for name, score in scores.items()}
    foreign = {}
    for spec, own in rows.items():
        outputs = ood.network_outputs(model, own, requires=needs)
        energies[spec] = _energies(model, outputs)
        foreign[spec] = {name: score.predict(outputs) for name, score in scores.items()}
    return Scored(logits, energies, known, foreign)


def _energies(model, outputs: dict) -> np.ndarray:
    return np.asarray(model.to_energy(outputs["logits"]))


def _known_rows(settings, run):
    """The run's test split, or all rows of other data."""
    spec = settings.dataset
    if record.is_training_data(settings.model, spec, settings.data_dir):
        return run.rows("test")
    other = record.load_like(
        settings.model,
        spec,
        settings.data_dir,
        settings.target,
        settings.skip_broken_images,
    )
    first = other.num_rows - other.num_test if other.num_test else 0
    rows = slice(first, None)
    return take(other.x, rows), other.y[rows]


def fitted_scores(model, run, names: str = "") -> dict:
    """Scores by name, fitted on the run's training and validation rows.

    A score that these rows are too few for is left out with a `UserWarning`.

    Raises:
        ValueError: if a name is of no score, or none of those asked for can be fitted.
    """
    if names:
        wanted = names.split(",")
    else:
        wanted = [*ood.SCORES, "energy+knn", "energy+class_gaussian"]
        if run.dataset.kind in ("image", "inputs"):
            # Full covariances of pixels take minutes; other inputs have none.
            wanted.remove("mixture")
        if model.num_classes < 2:
            wanted = [*ENERGY_SCORES, "knn"]
        absent = set() if _has_features(model.network) else {"features"}
        if run.dataset.kind == "inputs" and not _is_continuous(model.network):
            # There are no distances between codes and texts, and no slopes.
            absent |= {"inputs", "gradient_norm"}
        wanted = [n for n in wanted if not absent & set(ood.make_score(n).requires)]
    scores = {name: ood.make_score(name) for name in wanted}
    learned = [score for score in scores.values() if score.fitted_names]
    if learned:
        needs = frozenset.union(*(score.requires for score in learned))
        parts = [
            ood.network_outputs(model, *run.rows(part), requires=needs)
            for part in ("train", "validation")
        ]
    for name, score in list(scores.items()):
        if score.fitted_names:
            try:
                score.fit(*parts)
            except ValueError as error:
                if len(scores) == 1:
                    raise
                del scores[name]
                warnings.warn(f"score {name!r} is left out: {error}", stacklevel=3)
    return scores


def _has_features(network) -> bool:
    """Whether a layer before the logits can be read off, as of functional models."""
    try:
        with_features(network)
    except ValueError:
        return False
    return True


def _is_continuous(network) -> bool:
    """Whether a network takes one tensor of floats."""
    try:
        check_float_input(network, "scores")
    except ValueError:
        return False
    return True
