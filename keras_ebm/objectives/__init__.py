"""Losses of energies and classifiers."""

from keras_ebm.objectives.classification import (
    conditional_entropy,
    cross_entropy,
    mean_over,
)
from keras_ebm.objectives.energy import (
    OBJECTIVES,
    contrastive_loss,
    gradient_penalty,
    logistic_loss,
    negative_slope,
)

__all__ = [
    "OBJECTIVES",
    "conditional_entropy",
    "contrastive_loss",
    "cross_entropy",
    "gradient_penalty",
    "logistic_loss",
    "mean_over",
    "negative_slope",
]
