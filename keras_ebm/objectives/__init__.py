"""Losses of energies, densities and classifiers."""

from keras_ebm.objectives.classification import (
    conditional_entropy,
    count_over,
    cross_entropy,
    mean_over,
    times,
)
from keras_ebm.objectives.criterion import Criterion
from keras_ebm.objectives.energy import (
    GENERATOR_OBJECTIVES,
    OBJECTIVES,
    WEIGHTED_OBJECTIVES,
    contrastive_loss,
    data_mean,
    gradient_penalty,
    logistic_loss,
    logsumexp_loss,
    negative_slope,
    softplus_loss,
)
from keras_ebm.objectives.likelihood import GridLikelihood, MaximumLikelihood
from keras_ebm.objectives.noise_contrastive import ConditionalNoiseContrastive
from keras_ebm.objectives.score_matching import (
    DenoisingScoreMatching,
    SlicedScoreMatching,
)
from keras_ebm.objectives.semi_supervised import (
    SemiSupervised,
    pseudo_label_loss,
    virtual_adversarial_loss,
)

__all__ = [
    "GENERATOR_OBJECTIVES",
    "WEIGHTED_OBJECTIVES",
    "OBJECTIVES",
    "ConditionalNoiseContrastive",
    "Criterion",
    "DenoisingScoreMatching",
    "GridLikelihood",
    "MaximumLikelihood",
    "SemiSupervised",
    "SlicedScoreMatching",
    "conditional_entropy",
    "contrastive_loss",
    "count_over",
    "cross_entropy",
    "data_mean",
    "gradient_penalty",
    "logistic_loss",
    "logsumexp_loss",
    "mean_over",
    "negative_slope",
    "pseudo_label_loss",
    "softplus_loss",
    "times",
    "virtual_adversarial_loss",
]
