"""Flat measures of a trained model on the test split."""

import sys
import warnings

import numpy as np

from keras_ebm import data, metrics
from keras_ebm.ood import network_outputs

#: Test points of a toy density on which its likelihood is measured.
GAP_POINTS = 20_000
#: Half the sides of the boxes that its normaliser is summed over, the first one that
#: holds the mass, and the cells of their grids along a unit of length.
EXTENTS = (8, 16, 32)
CELLS_A_UNIT = 30


def measure(model, run) -> dict:
    """Measures a model on the test rows of its run.

    Args:
        model: `EnergyModel`.
        run: `keras_ebm.trainers.settings.data.RunData`.

    Returns:
        Dict of floats and ints: with classes `temperature`, `lapse_rate`, and where
        rows are labelled `accuracy`, `nll` (nats), `ece`, `brier`; always `energy`
        (mean, nats) and `num_test`; for a toy density that is known exactly, `nll_gap`
        (nats, on at most 20,000 test points).
    """
    x, y = run.rows("test")
    logits = network_outputs(model, x, requires=("logits",))["logits"]
    energy = np.asarray(model.to_energy(logits))
    values = {"energy": float(energy.mean()), "num_test": len(energy)}
    if model.num_classes > 1:
        values |= classification_measures(model, logits, y)
        values["temperature"] = model.temperature
        values["lapse_rate"] = model.lapse_rate
    elif model.objective == "contrastive":
        values |= density_measures(model, run)
    return values


def density_measures(model, run) -> dict:
    """`nll_gap` of an energy that is a likelihood, if the data's density is known.

    Where there is none because the energy has no finite `Z` on the grid, stderr
    says so.
    """
    source, name = data.parse_spec(run.dataset.name)
    if source != "toy" or name not in data.EXACT:
        return {}
    x = run.rows("test")[0][:GAP_POINTS]
    log_density = data.log_density(name, x)
    for extent in EXTENTS:
        cells = int(CELLS_A_UNIT * 2 * extent)
        try:
            gap = metrics.nll_gap(model.energy, x, log_density, extent, cells)
        except ValueError as error:
            reason = error
        else:
            return {"nll_gap": gap}
    # The model is trained and saved: say why there is no figure, and go on.
    sys.stderr.write(f"nll_gap cannot be measured: {reason}\n")
    return {}


def classification_measures(model, logits: np.ndarray, labels: np.ndarray) -> dict:
    """Accuracy, NLL (nats), ECE (15 bins) and Brier score of labelled rows.

    Of the probabilities at the model's temperature and lapse rate. Nothing where no
    row has a label, and a `UserWarning` that says so.
    """
    labelled = labels >= 0
    logits, labels = logits[labelled], labels[labelled]
    if not len(labels):
        warnings.warn(
            "none of the rows to measure on has a label, so that there is no accuracy, "
            "NLL, ECE and Brier score",
            stacklevel=3,
        )
        return {}
    logits = logits.astype(np.float64)
    probabilities = model.to_probabilities(logits).numpy()
    log_p = model.to_log_probabilities(logits).numpy()
    classes = model.offset(logits).numpy().argmax(axis=-1)
    return {
        "accuracy": float(np.mean(classes == labels)),
        "nll": metrics.negative_log_likelihood(log_p, labels, from_logits=True),
        "ece": metrics.expected_calibration_error(probabilities, labels),
        "brier": metrics.brier_score(probabilities, labels),
    }
