"""Estimators of the gradient of a generator's entropy."""

from keras_ebm.entropy.base import Draw, EntropyEstimator
from keras_ebm.entropy.importance_sampling import ImportanceSampling

__all__ = ["Draw", "EntropyEstimator", "ImportanceSampling"]
