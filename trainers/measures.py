"""Flat measures of a trained model on the test split."""

import numpy as np
import tensorflow as tf

from keras_ebm import metrics
from keras_ebm.ood import network_outputs


def measure(model, run) -> dict:
    """Measures a model on the test rows of its run.

    Args:
        model: `EnergyModel`.
        run: `trainers.data.RunData`.

    Returns:
        Dict of floats and ints: with classes `accuracy`, `nll` (nats), `ece`,
        `brier`; always `energy` (mean, nats) and `num_test`.
    """
    x, y = run.rows("test")
    logits = network_outputs(model, x, requires=("logits",))["logits"]
    energy = np.asarray(model.to_energy(logits))
    values = {"energy": float(energy.mean()), "num_test": len(x)}
    if model.num_classes > 1:
        values |= classification_measures(logits, y)
    return values


def classification_measures(logits: np.ndarray, labels: np.ndarray) -> dict:
    """Accuracy, NLL (nats), ECE (15 bins) and Brier score of labelled rows."""
    labelled = labels >= 0
    logits, labels = logits[labelled], labels[labelled]
    if not len(labels):
        raise ValueError("Measures of a classifier need labelled rows; there are none.")
    probabilities = tf.nn.softmax(logits.astype(np.float64)).numpy()
    return {
        "accuracy": float(np.mean(logits.argmax(axis=-1) == labels)),
        "nll": metrics.negative_log_likelihood(logits, labels, from_logits=True),
        "ece": metrics.expected_calibration_error(probabilities, labels),
        "brier": metrics.brier_score(probabilities, labels),
    }
