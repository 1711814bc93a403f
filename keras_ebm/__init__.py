"""Energy-based models for Keras 3.

One sign throughout: `p(x) = exp(-E(x)) / Z`, so a LOW energy is likely, and
every out-of-distribution score is HIGHER for inputs less like the training
data (the energy is such a score as it stands). A label of -1 means
"unlabelled". Energies and likelihoods are in nats.
"""

# All of them are imported, so that everything a `.keras` file may name is
# registered once the package is.
from keras_ebm import (
    callbacks,
    data,
    entropy,
    explain,
    generators,
    layers,
    metrics,
    models,
    negatives,
    networks,
    objectives,
    ood,
    optimizers,
    schedules,
    serving,
)
from keras_ebm.generators import GaussianGenerator
from keras_ebm.models import VERA, DensityModel, EnergyModel, LangevinModel

__version__ = "0.1.0"

__all__ = [
    "VERA",
    "DensityModel",
    "EnergyModel",
    "GaussianGenerator",
    "LangevinModel",
    "__version__",
    "callbacks",
    "data",
    "entropy",
    "explain",
    "generators",
    "layers",
    "metrics",
    "models",
    "negatives",
    "networks",
    "objectives",
    "ood",
    "optimizers",
    "schedules",
    "serving",
]
