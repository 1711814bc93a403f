"""Small networks whose steps are compared."""

import numpy as np
import tensorflow as tf

from benchmarks.step_baselines import Setting
from keras_ebm import networks

IMAGE = (8, 8, 3)
SMALL = {
    "image": Setting(
        4,
        lambda: networks.wide_resnet(IMAGE, 3, depth=10, width=1),
        lambda: networks.resnet_decoder(5, IMAGE, filters=4, normalization=None),
        "wide_resnet",
        "resnet_decoder",
    ),
    "image, MLP decoder": Setting(
        4,
        lambda: networks.wide_resnet(IMAGE, 3, depth=10, width=1),
        lambda: networks.mlp_decoder(5, IMAGE, hidden=(8, 8), output_activation="tanh"),
        "wide_resnet",
        "mlp",
    ),
    "vector": Setting(
        6,
        lambda: networks.mlp_energy((9,), 3, hidden=(8, 8)),
        lambda: networks.mlp_decoder(4, (9,), hidden=(8,)),
        "mlp",
        "mlp",
    ),
}
SAMPLES = 3


def data_of(setting):
    rng = np.random.default_rng(0)
    network, _ = setting.build()
    shape = (setting.batch, *network.input_shape[1:])
    x = tf.constant(rng.uniform(-1, 1, shape).astype(np.float32))
    return x, tf.constant(rng.integers(0, 3, setting.batch).astype(np.int32))
