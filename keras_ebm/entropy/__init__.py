"""Estimators of the gradient of a generator's entropy."""

from keras_ebm.entropy.base import Draw, EntropyEstimator, Estimate
from keras_ebm.entropy.exact_linear import ExactLinear
from keras_ebm.entropy.hamiltonian import HamiltonianChains, HamiltonianMonteCarlo
from keras_ebm.entropy.importance_sampling import ImportanceSampling
from keras_ebm.entropy.log_volume import LogVolume
from keras_ebm.entropy.mutual_information import MutualInformation

#: Estimators by the names that programs give them: the choices of `--entropy`, and
#: what the tests of all estimators run over.
ESTIMATORS = {
    "importance": ImportanceSampling,
    "log_volume": LogVolume,
    "hmc": HamiltonianChains,
    "mutual_information": MutualInformation,
    "exact_linear": ExactLinear,
}

__all__ = [
    "ESTIMATORS",
    "Draw",
    "EntropyEstimator",
    "Estimate",
    "ExactLinear",
    "HamiltonianChains",
    "HamiltonianMonteCarlo",
    "ImportanceSampling",
    "LogVolume",
    "MutualInformation",
]
