"""Densities in the plane: an energy of four rings, and a generator that samples it.

VERA trains the energy against a generator whose samples are weighted by `exp(-E)` over
their own density and moved a few steps; by itself the generator draws a blurred
picture of it. As the density of the rings is known exactly,
the nats that the model loses to it can be told, and as a scale those that one Gaussian
loses. Two minutes.

    python examples/densities.py [FOLDER]
"""

import sys
from pathlib import Path

import keras
import numpy as np
from sklearn.mixture import GaussianMixture

import keras_ebm as ebm
from keras_ebm import plots


def adam(learning_rate: float, steps: int) -> keras.optimizers.Optimizer:
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    return keras.optimizers.Adam(schedule, beta_2=0.99)


def main(
    output: str = "gallery", steps: int = 4000, width: int = 128
) -> dict[str, float]:
    keras.utils.set_random_seed(0)
    hidden = (width, width, width)
    model = ebm.VERA(
        # Times a broad Gaussian, so that the density falls off outside of the data.
        ebm.networks.mlp_energy((2,), hidden=hidden, base_stddev=4.0),
        ebm.GaussianGenerator(
            ebm.networks.mlp_decoder(2, (2,), hidden=hidden, skip=2.0)
        ),
        entropy=ebm.entropy.LogVolume(fold_weight=3.0),
        correction=ebm.negatives.ImportanceCorrection(num_steps=3),
    )
    model.compile(adam(2e-3, steps), adam(1e-3, steps))
    x = ebm.data.draw("rings", 200 * steps, seed=0)
    model.fit(x, batch_size=200, epochs=1, verbose=0)

    test = ebm.data.draw("rings", 10_000, seed=1)
    exact = ebm.data.log_density("rings", test)
    gap = ebm.metrics.nll_gap(lambda points: model.energy(points), test, exact)
    gaussian = GaussianMixture(1, random_state=0).fit(x[:10_000])
    figures = {
        "nats lost to the true density": gap,
        "nats lost by one Gaussian": float(np.mean(exact) - gaussian.score(test)),
    }
    for name, value in figures.items():
        print(f"{name}: {value:.3f}")

    drawn = model.sample(2000)
    chains = ebm.EnergyModel(model.network)
    moves = ebm.negatives.MALAMoves(num_steps=100)
    moved = chains.sample(2000, start=drawn, moves=moves)
    points = {"data": test[:2000], "generator": drawn, "moved by chains": moved}
    figure, axes = plots.pyplot().subplots(1, 4, figsize=(8, 2.4), layout="constrained")
    plots.draw_energy_map(axes[0], lambda points: model.energy(points), test[:0])
    axes[0].get_legend().remove()
    axes[0].set(title="density", xticks=[], yticks=[])
    for axis, (title, x) in zip(axes[1:], points.items(), strict=True):
        axis.scatter(*np.asarray(x).T, s=1, color="black")
        axis.set(title=title, xlim=(-4, 4), ylim=(-4, 4), aspect="equal")
        axis.set(xticks=[], yticks=[])
    plots.save(figure, Path(output) / "densities.png")
    return figures


if __name__ == "__main__":
    main(*sys.argv[1:])
