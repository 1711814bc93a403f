"""And, or, not: energies made of energies, and samples of them.

Two energies of points in the plane are trained, one of a ring and one of a stripe. Out
of them come, without further training, the energies of what is in both, in either, and
in the ring but not in the stripe. Samples are where Markov chains on these energies
walk to from anywhere. Half a minute.

    python examples/composition.py [FOLDER]
"""

import sys
from pathlib import Path

import keras
import numpy as np

import keras_ebm as ebm
from keras_ebm import compose, negatives, plots


def ring(count: int, rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi, count)
    radius = 2.2 + 0.2 * rng.normal(size=count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def stripe(count: int, rng: np.random.Generator) -> np.ndarray:
    return np.stack([rng.normal(0, 1.8, count), rng.normal(0, 0.3, count)], axis=1)


def train(x: np.ndarray, epochs: int) -> ebm.DensityModel:
    """An energy of points by its likelihood, whose normaliser is summed over a grid."""
    network = ebm.networks.mlp_energy((2,), hidden=(64, 64), base_stddev=3.0)
    model = ebm.DensityModel(network, ebm.objectives.GridLikelihood(extent=6.0))
    model.compile(keras.optimizers.Adam(5e-3))
    model.fit(x.astype("float32"), batch_size=250, epochs=epochs, verbose=0)
    return model


def main(output: str = "gallery", epochs: int = 40, num_steps: int = 400) -> dict:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    one = train(ring(5000, rng), epochs)
    other = train(stripe(5000, rng), epochs)
    energies = {
        "ring": one.network,
        "stripe": other.network,
        "ring and stripe": compose.Product([one, other]),
        "ring or stripe": compose.Union([one, other]),
        # A small weight: nothing else keeps a negation from growing without bounds.
        "ring, not stripe": compose.Product([one, other], [1.0, -0.2]),
    }
    start = rng.uniform(-4, 4, (400, 2))
    moves = negatives.MALAMoves(num_steps)
    figures, samples = {}, {}
    for name, network in energies.items():
        model = ebm.EnergyModel(network)
        x = np.asarray(model.sample(400, start=start, moves=moves))
        in_ring = np.abs(np.linalg.norm(x, axis=1) - 2.2) < 0.6
        in_stripe = np.abs(x[:, 1]) < 0.9
        samples[name] = model, x
        figures[name] = [float(in_ring.mean()), float(in_stripe.mean())]
        print(f"{name}: {in_ring.mean():.0%} of samples lie in the ring, ", end="")
        print(f"{in_stripe.mean():.0%} in the stripe")
    figure, axes = plots.pyplot().subplots(1, 5, figsize=(8, 2.1), layout="constrained")
    for axis, (name, (model, x)) in zip(axes, samples.items(), strict=True):
        plots.draw_energy_map(axis, model.energy, x[:0], x)
        axis.get_legend().remove()
        axis.set(title=name, xticks=[], yticks=[])
    plots.save(figure, Path(output) / "composition.png")
    return figures


if __name__ == "__main__":
    main(*sys.argv[1:])
