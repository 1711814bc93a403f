"""Restoration: what was there before noise, masks and fewer pixels."""

from keras_ebm.restore.choose_walk import ChosenWalk, choose_walk, hidden_entries
from keras_ebm.restore.corruption import Corruption
from keras_ebm.restore.downsampled import Downsampled
from keras_ebm.restore.energy_walk import EnergyWalk
from keras_ebm.restore.gaussian_noise import GaussianNoise
from keras_ebm.restore.latent_walk import LatentWalk
from keras_ebm.restore.level_walk import LevelWalk
from keras_ebm.restore.masked import Masked
from keras_ebm.restore.psnr import psnr
from keras_ebm.restore.restore import Restored, Walk, restore
from keras_ebm.restore.salt_and_pepper import SaltAndPepper

__all__ = [
    "ChosenWalk",
    "Corruption",
    "Downsampled",
    "EnergyWalk",
    "GaussianNoise",
    "LatentWalk",
    "LevelWalk",
    "Masked",
    "Restored",
    "SaltAndPepper",
    "Walk",
    "choose_walk",
    "hidden_entries",
    "psnr",
    "restore",
]
