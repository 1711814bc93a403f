"""Training models."""

from keras_ebm.models.base import BaseEnergyModel, Batch, Drawn
from keras_ebm.models.denoising_model import DenoisingModel
from keras_ebm.models.density_model import DensityModel
from keras_ebm.models.energy_model import EnergyModel
from keras_ebm.models.langevin_model import LangevinModel
from keras_ebm.models.vera import VERA

__all__ = [
    "VERA",
    "BaseEnergyModel",
    "Batch",
    "DenoisingModel",
    "DensityModel",
    "Drawn",
    "EnergyModel",
    "LangevinModel",
]
