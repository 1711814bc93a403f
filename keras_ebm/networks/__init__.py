"""Energy networks and decoders."""

from keras_ebm.networks.adopted import from_classifier
from keras_ebm.networks.class_conditional import ClassConditional
from keras_ebm.networks.convolutional import (
    convolutional_decoder,
    convolutional_energy,
    strided_energy,
)
from keras_ebm.networks.convolutional_denoiser import convolutional_denoiser
from keras_ebm.networks.dcgan import dcgan_decoder, dcgan_energy
from keras_ebm.networks.features import with_features
from keras_ebm.networks.igebm import (
    igebm_dsprites,
    igebm_mnist,
    igebm_resnet32,
    igebm_resnet128,
)
from keras_ebm.networks.large_mlp import large_mlp_decoder, large_mlp_energy
from keras_ebm.networks.mixture import GaussianMixture
from keras_ebm.networks.mlp import mlp_decoder, mlp_energy
from keras_ebm.networks.nice import NICE
from keras_ebm.networks.reconstruction_energy import ReconstructionEnergy
from keras_ebm.networks.resnet import resnet_decoder, resnet_energy
from keras_ebm.networks.splitting import body_features, split
from keras_ebm.networks.vector_conditional import GivenLabel, VectorConditional
from keras_ebm.networks.wide_resnet import wide_resnet

__all__ = [
    "NICE",
    "ClassConditional",
    "GaussianMixture",
    "GivenLabel",
    "ReconstructionEnergy",
    "VectorConditional",
    "body_features",
    "convolutional_decoder",
    "convolutional_denoiser",
    "convolutional_energy",
    "dcgan_decoder",
    "dcgan_energy",
    "from_classifier",
    "igebm_dsprites",
    "igebm_mnist",
    "igebm_resnet128",
    "igebm_resnet32",
    "large_mlp_decoder",
    "large_mlp_energy",
    "mlp_decoder",
    "mlp_energy",
    "resnet_decoder",
    "resnet_energy",
    "split",
    "strided_energy",
    "wide_resnet",
    "with_features",
]
