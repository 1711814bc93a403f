r"""Accuracy of a trained classifier after it was fine-tuned with negatives.

A convolutional network with batch normalisation learns scikit-learn's digits and is
then trained on as an energy model: with the cross-entropy alone, and beside it with
negatives of each kind. Batch normalisation takes negatives by this package's rule (they
are normalised by their own batch, which the moving statistics do not see), is frozen,
or follows one of two other rules: negatives are normalised by the moving statistics, or
their own batch enters these too. It takes a quarter of an hour; run from the top of
the checkout:

    python -m benchmarks.fine_tuning --output=benchmarks/results/fine_tuning.json

What is in the file already is not repeated.
"""

import dataclasses
import os
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks.machine import machine
from keras_ebm import generators, models, negatives, networks
from keras_ebm.data import load
from keras_ebm.metrics import auroc
from keras_ebm.mixtures import fit_mixture
from keras_ebm.random import StepRandom
from keras_ebm.trainers.program import json_files, options, running

SHAPE, CLASSES = (8, 8, 1), 10
TRAIN, BATCH = 1_000, 100
LEARNING_RATE, ENERGY_WEIGHT = 1e-3, 0.1
#: Sources of negatives; `plain` has none.
SOURCES = ("plain", "cut_and_blend", "jitter", "mixture", "chains", "generator")
#: What batch normalisation does with negatives: `own` is this package's rule, `frozen`
#: the default of `networks.from_classifier`.
RULES = ("own", "frozen", "moving", "joint")


def digits(seed: int):
    """Rows between -1 and 1 and their labels: `(train, test)`, split by `seed`."""
    data = load("digits")
    x = np.asarray(data.x, np.float32).reshape(-1, *SHAPE)
    x = 2.0 * (x - x.min()) / (x.max() - x.min()) - 1.0
    order = np.random.default_rng(seed).permutation(len(x))
    parts = order[:TRAIN], order[TRAIN:]
    return [(x[part], np.asarray(data.y)[part].astype(np.int32)) for part in parts]


def classifier(rows, seed: int, epochs: int) -> keras.Model:
    """Two convolutions with batch normalisation, trained as Keras trains."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    blocks = [
        layer
        for filters in (16, 32)
        for layer in (
            layers.Conv2D(filters, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
        )
    ]
    model = keras.Sequential(
        [keras.Input(SHAPE), *blocks, layers.Flatten(), layers.Dense(CLASSES)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss, jit_compile=False)
    model.fit(*rows, batch_size=BATCH, epochs=epochs, verbose=0)
    return model


def mixture_images(x: np.ndarray, seed: int) -> Callable:
    """Samples of a mixture of Gaussians fitted to images, as images."""
    rows = x.reshape(len(x), -1)
    source = negatives.MixtureSamples(fit_mixture(rows, CLASSES, seed=seed))

    def draw(x, random):
        return tf.reshape(
            source(tf.reshape(x, [-1, rows.shape[1]]), random), tf.shape(x)
        )

    return draw


def chains() -> negatives.MarkovChains:
    """Short runs of Langevin steps from uniform noise."""
    moves = negatives.LangevinMoves(10, 0.1, 0.01, max_gradient=1.0, box=(-1.0, 1.0))
    return negatives.MarkovChains(moves, start="uniform")


def decoder() -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(128, "relu"),
            layers.Dense(int(np.prod(SHAPE)), "tanh"),
            layers.Reshape(SHAPE),
        ]
    )


class _Joint:
    """Negatives are normalised by their own batch and move the statistics."""

    def _negatives_energy(self, x, labels, training):
        return self._energies_at(x, labels, training)


class _Moving:
    """Negatives are normalised by the moving statistics, which they do not move."""

    def _negatives_energy(self, x, labels, training):
        # The network is without dropout: its modes differ in this alone.
        return self._energies_at(x, labels, training=False)


def build(network: keras.Model, source: str, rule: str, x: np.ndarray, seed: int):
    """The model that trains `network` against a source, statistics by a rule."""
    mixin = {"joint": (_Joint,), "moving": (_Moving,)}.get(rule, ())
    common = {"objective": "logistic", "energy_weight": ENERGY_WEIGHT, "seed": seed}
    if source == "generator":
        kind = type("Model", (*mixin, models.VERA), {})
        return kind(network, generators.GaussianGenerator(decoder()), **common)
    makers = {
        "plain": lambda: None,
        "cut_and_blend": negatives.CutAndBlend,
        "jitter": negatives.Jitter,
        "mixture": lambda: mixture_images(x, seed),
        "chains": chains,
    }
    kind = type("Model", (*mixin, models.EnergyModel), {})
    return kind(network, negatives=makers[source](), **common)


def fine_tune(trained: keras.Model, source: str, rule: str, rows, seed: int, epochs):
    """A copy of a trained classifier after further epochs."""
    keras.utils.set_random_seed(seed)
    network = networks.from_classifier(trained, freeze_statistics=rule == "frozen")
    model = build(network, source, rule, rows[0], seed)
    model.compile(keras.optimizers.Adam(LEARNING_RATE))
    model.fit(*rows, batch_size=BATCH, epochs=epochs, verbose=0)
    return network


def measures(network: keras.Model, rows) -> dict:
    """Accuracy, and how well energies tell test rows from what is none, in [0, 1].

    Strangers are blends of the rows, and noise that is uniform over pixel values.
    """
    x, y = rows
    model = models.EnergyModel(network)
    random = StepRandom(0, 0)
    blends = negatives.CutAndBlend()(tf.constant(x), random)
    noise = random.uniform(x.shape, "noise", -1.0, 1.0)
    known, *strange = (np.asarray(model.energy(rows)) for rows in (x, blends, noise))
    return {
        "accuracy": float(np.mean(np.asarray(model.logits(x)).argmax(axis=-1) == y)),
        "auroc_blends": float(auroc(known, strange[0])),
        "auroc_noise": float(auroc(known, strange[1])),
    }


def run_one(seed: int, epochs: int, sources=SOURCES, rules=RULES) -> dict:
    """Measures on test rows by source and rule, of one split."""
    train, test = digits(seed)
    trained = classifier(train, seed, epochs)
    results = {"before": measures(networks.from_classifier(trained), test)}
    for source in sources:
        for rule in rules[:2] if source == "plain" else rules:
            network = fine_tune(trained, source, rule, train, seed, epochs)
            results[f"{source}-{rule}"] = measures(network, test)
    return results


def table(runs: dict, measure: str) -> str:
    """Markdown of means ± standard deviations over seeds, in %."""

    def cell(key):
        found = [100 * run[key][measure] for run in runs.values() if key in run]
        return f"{np.mean(found):.1f} ± {np.std(found):.1f}" if found else ""

    lines = ["| negatives | " + " | ".join(RULES) + " |", "|---" * 5 + "|"]
    lines.append(f"| before fine-tuning | {cell('before')} | | | |")
    for source in SOURCES:
        cells = [cell(f"{source}-{rule}") for rule in RULES]
        lines.append(f"| {source} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class FineTuningSettings:
    """Flags of the benchmark."""

    output: str = options.setting("", "JSON file to write and to continue.")
    seeds: int = options.setting(5, "Seeds 0, 1, ...")
    epochs: int = options.setting(20, "Passes over the rows, before and again.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(FineTuningSettings)
    output = options.require("output")
    saved = {"machine": machine(), "epochs": settings.epochs, "runs": {}}
    if os.path.exists(output):
        saved = json_files.read_json(output)
    for seed in range(settings.seeds):
        if str(seed) not in saved["runs"]:
            keras.backend.clear_session()
            saved["runs"][str(seed)] = run_one(seed, settings.epochs)
            json_files.write_json(output, saved)
    for measure in ("accuracy", "auroc_blends", "auroc_noise"):
        print(f"\n{measure}\n{table(saved['runs'], measure)}")


if __name__ == "__main__":
    options.define_flags(FineTuningSettings)
    running.run_program(main)
