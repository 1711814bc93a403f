r"""Times one VERA step as a multiple of a plain classifier step.

The steps alternate in one process, so that a machine's drift hits all alike;
the figures are medians over blocks. Run from the top of the checkout:

    python -m benchmarks.step_time --output=benchmarks/results/step_time.json
"""

import dataclasses
import time

import keras
import numpy as np
import tensorflow as tf

from benchmarks.machine import machine
from keras_ebm import VERA, EnergyModel, GaussianGenerator, networks
from keras_ebm.entropy import ImportanceSampling
from keras_ebm.trainers.program import json_files, options, running

BATCH = 128
LATENT = 32
#: Loss weights of the energy beside the cross-entropy.
WEIGHTS = {"energy_weight": 0.1, "gradient_penalty": 0.1}


def build(network, kind: str):
    """Returns a compiled model: `plain`, `energy`, `generator` or `vera`.

    `plain` is Keras's own classifier step with accuracy as its metric, `energy`
    trains against a constant, and `generator` is VERA without entropy.
    """
    keras.utils.set_random_seed(0)
    energy, decoder = NETWORKS[network]()
    if kind == "plain":
        return plain_classifier(energy)
    if kind == "energy":
        model = EnergyModel(
            energy, negatives=lambda x, random: tf.zeros_like(x), **WEIGHTS
        )
    else:
        model = VERA(
            energy,
            GaussianGenerator(decoder),
            entropy=ImportanceSampling(20),
            entropy_weight=1.0 if kind == "vera" else 0.0,
            **WEIGHTS,
        )
    model.compile(keras.optimizers.Adam(1e-4))
    return model


def plain_classifier(network):
    """The network as a classifier of Keras's own, compiled."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    adam = keras.optimizers.Adam(1e-4)
    network.compile(adam, loss, metrics=["accuracy"], jit_compile=False)
    return network


IMAGE = (28, 28, 1)


def _mlp():
    return networks.mlp_energy((64,), 10), networks.mlp_decoder(LATENT, (64,))


def _cnn():
    decoder = networks.mlp_decoder(
        LATENT, IMAGE, hidden=(128, 256), output_activation="tanh"
    )
    return networks.convolutional_energy(IMAGE, 10), decoder


def _cnn_both():
    decoder = networks.convolutional_decoder(LATENT, IMAGE)
    return networks.convolutional_energy(IMAGE, 10), decoder


#: Energy and decoder; the first two are the defaults of `trainers.vera`.
NETWORKS = {
    "mlp 64-256-256-10, mlp decoder": _mlp,
    "cnn 28x28, mlp decoder": _cnn,
    "cnn 28x28, convolutional decoder": _cnn_both,
}


def step_function(model, batch: int = BATCH):
    """The compiled step as a callable without arguments."""
    rng = np.random.default_rng(0)
    network = getattr(model, "network", model)
    shape = (batch, *network.input_shape[1:])
    x = tf.constant(rng.uniform(-1, 1, shape).astype(np.float32))
    y = rng.integers(0, network.output_shape[-1], batch)
    y = tf.constant(y.astype(np.int32))
    step = tf.function(lambda: model.train_step((x, y)), autograph=False)
    return step


def alternate(functions: dict, blocks: int, steps: int) -> dict:
    """Milliseconds a step of each function, `(blocks,)`, in blocks that alternate."""
    times = {kind: [] for kind in functions}
    for function in functions.values():
        for _ in range(5):
            function()
    for _ in range(blocks):
        for kind, function in functions.items():
            start = time.perf_counter()
            for _ in range(steps):
                logs = function()
            logs["loss"].numpy()
            times[kind].append(1e3 * (time.perf_counter() - start) / steps)
    return {kind: np.array(values) for kind, values in times.items()}


def measure(network: str, blocks: int, steps: int) -> dict:
    """Median milliseconds a step of each kind, alternating in blocks."""
    kinds = ("plain", "energy", "generator", "vera")
    functions = {kind: step_function(build(network, kind)) for kind in kinds}
    times = alternate(functions, blocks, steps)
    ratios = times["vera"] / times["plain"]
    middle = {kind: float(np.median(values)) for kind, values in times.items()}
    whole = middle["vera"]
    return {
        "milliseconds": middle,
        "ratio": float(np.median(ratios)),
        "ratio_quartiles": np.percentile(ratios, [25, 75]).tolist(),
        "share_energy": middle["energy"] / whole,
        "share_generator": (middle["generator"] - middle["energy"]) / whole,
        "share_entropy_and_posterior": (whole - middle["generator"]) / whole,
    }


@dataclasses.dataclass(frozen=True)
class StepTimeSettings:
    """Flags of the benchmark."""

    blocks: int = options.setting(15, "Alternations.")
    steps: int = options.setting(20, "Steps in a block.")
    output: str = options.setting("", "JSON file to write.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(StepTimeSettings)
    results = {"machine": machine(), "batch": BATCH, "latent_dim": LATENT}
    for name in NETWORKS:
        results[name] = measure(name, settings.blocks, settings.steps)
        print(name, results[name])
    if settings.output:
        json_files.write_json(settings.output, results)


if __name__ == "__main__":
    options.define_flags(StepTimeSettings)
    running.run_program(main)
