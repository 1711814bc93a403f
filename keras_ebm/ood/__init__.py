"""Out-of-distribution scores of one network, and decisions made from them.

The sign, once for the whole package: **every score is higher for an input
that is more out-of-distribution**. The energy `E(x) = -logsumexp_y f(x)[y]`
is such a score as it stands; what the literature writes the other way round
is negated here. Out-of-distribution is the positive class of every detection
metric in `keras_ebm.metrics`.
"""

from keras_ebm.ood.batch_rate import benjamini_hochberg
from keras_ebm.ood.choosing import ScoreChoice, choose_score
from keras_ebm.ood.combined import SCORES, SumScore, load_score, make_score
from keras_ebm.ood.conformal import ConformalDetector, CrossConformalDetector
from keras_ebm.ood.conformal_rates import conformal_band
from keras_ebm.ood.detector import Detector, judge
from keras_ebm.ood.feature_scores import (
    KNN,
    ClassGaussian,
    Mahalanobis,
    Nearest,
    RelativeMahalanobis,
)
from keras_ebm.ood.fold_score import FoldScore
from keras_ebm.ood.head_scores import ReAct, ViM
from keras_ebm.ood.mixture_score import Mixture
from keras_ebm.ood.output_scores import (
    ApproximateMass,
    Energy,
    Entropy,
    GeneralizedEntropy,
    MaxLogit,
    MaxSoftmax,
)
from keras_ebm.ood.outputs import network_outputs, output_function
from keras_ebm.ood.score import Score

__all__ = [
    "KNN",
    "SCORES",
    "ApproximateMass",
    "ClassGaussian",
    "ConformalDetector",
    "CrossConformalDetector",
    "Detector",
    "Energy",
    "Entropy",
    "FoldScore",
    "GeneralizedEntropy",
    "Mahalanobis",
    "MaxLogit",
    "MaxSoftmax",
    "Mixture",
    "Nearest",
    "ReAct",
    "RelativeMahalanobis",
    "Score",
    "ScoreChoice",
    "SumScore",
    "ViM",
    "benjamini_hochberg",
    "choose_score",
    "conformal_band",
    "judge",
    "load_score",
    "make_score",
    "network_outputs",
    "output_function",
]
