"""Energy-based models for Keras 3.

One sign throughout: `p(x) = exp(-E(x)) / Z`, so a LOW energy is likely, and
every out-of-distribution score is HIGHER for inputs less like the training
data (the energy is such a score as it stands). A label of -1 means
"unlabelled". Energies and likelihoods are in nats.
"""

import importlib
import os
import sys
from typing import Any


def _keras_backend() -> str:
    """What Keras runs on; asked of the environment first, before anything is loaded."""
    chosen = os.environ.get("KERAS_BACKEND")
    if chosen and "keras" not in sys.modules:
        return chosen
    try:
        import keras
    except ModuleNotFoundError as error:
        # The backend in keras.json is not even installed.
        if error.name in ("jax", "torch", "openvino"):
            return error.name
        raise
    return keras.backend.backend()


if _keras_backend() != "tensorflow":
    raise ImportError(
        "keras_ebm serves Keras's TensorFlow backend alone. Received: "
        f"{_keras_backend()!r}; set the environment variable KERAS_BACKEND=tensorflow, "
        'or "backend": "tensorflow" in ~/.keras/keras.json, before Keras is imported.'
    )

# All of them are imported, so that everything a `.keras` file may name is
# registered once the package is.
from keras_ebm import (  # noqa: E402
    callbacks,
    compose,
    continual,
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
    restore,
    robust,
    schedules,
    serving,
    trajectories,
)
from keras_ebm.generators import GaussianGenerator  # noqa: E402
from keras_ebm.models import (  # noqa: E402
    VERA,
    BaseEnergyModel,
    DensityModel,
    EnergyModel,
    LangevinModel,
)

__version__ = "0.1.0"

#: Parts that need more than the core, and are imported as they are first used.
_LATER = ("estimators", "plots")


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return importlib.import_module(f"keras_ebm.{name}")
    raise AttributeError(f"module 'keras_ebm' has no attribute {name!r}")


__all__ = [
    "VERA",
    "BaseEnergyModel",
    "DensityModel",
    "EnergyModel",
    "GaussianGenerator",
    "LangevinModel",
    "__version__",
    "callbacks",
    "compose",
    "continual",
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
    "robust",
    "restore",
    "schedules",
    "serving",
    "trajectories",
]
