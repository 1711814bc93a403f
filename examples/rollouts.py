"""Rollouts: what a pendulum does next, and when it does what it never did.

Episodes of a damped pendulum that is pushed left or right at random train an energy of
transitions: a one-step Gaussian, times what tells true next states from its draws. From
first states it rolls episodes out, and its energy finds test episodes in which friction
has risen. A minute.

    python examples/rollouts.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np

from keras_ebm import metrics, plots, trajectories


def pendulum(count: int, seed: int, friction: float = 0.1, steps: int = 60):
    """Episodes `(count, steps + 1, 2)` of angle and speed, in radians and seconds."""
    rng = np.random.default_rng(seed)
    angle, speed = rng.normal(0, 0.6, count), rng.normal(0, 0.6, count)
    states = [np.stack([angle, speed], axis=1)]
    for _ in range(steps):
        push = rng.choice([-0.25, 0.25], count) + 0.02 * rng.normal(size=count)
        speed = speed + 0.1 * (-4 * np.sin(angle) - friction * speed) + push
        angle = angle + 0.1 * speed
        states.append(np.stack([angle, speed], axis=1))
    return np.stack(states, axis=1).astype("float32")


def main(output: str = "gallery", episodes: int = 400, epochs: int = 30) -> dict:
    train, test, again = (pendulum(n, i) for i, n in enumerate([episodes, 100, 100]))
    step = trajectories.fit_step(train, past=1, hidden=(64, 64), epochs=epochs, seed=0)
    model = trajectories.fit_transitions(
        train,
        trajectories.StepNoise(step),
        hidden=(128, 128),
        epochs=epochs,
        batch_size=256,
        learning_rate=3e-3,
        seed=0,
    )
    made = {
        "Gaussian": trajectories.rollout(step, test[:, 0], num_steps=60, seed=0),
        "energy": trajectories.rollout(model, test[:, 0], num_steps=60, seed=0),
        "true": again,
    }
    # A push is 0.25 one way or the other: how many are near neither?
    pushed = {name: pushes(states).ravel() for name, states in made.items()}
    rubbed = pendulum(100, 3, friction=0.6)
    score = trajectories.transition_score
    usual, odd = (score(model, states).mean(axis=1) for states in (test, rubbed))
    near = {name: np.mean(np.abs(push) < 0.1) for name, push in pushed.items()}
    figures = {f"pushes below 0.1, {name}": float(v) for name, v in near.items()}
    figures["AUROC of friction"] = metrics.auroc(usual, odd)
    for name, value in figures.items():
        print(f"{name}: {value:.3f}")
    figure, axes = plots.pyplot().subplots(1, 3, figsize=(8, 2.6), layout="constrained")
    axes[0].plot(made["energy"][:8, :, 0].T, lw=1)
    axes[0].set(title="made by the energy", xlabel="step", ylabel="angle, radians")
    for name, push in pushed.items():
        axes[1].hist(push, np.linspace(-0.5, 0.5, 80), histtype="step", label=name)
    axes[1].set(title="pushes in episodes", xlabel="radians a second", yticks=[])
    axes[1].legend(loc="center", fontsize=7, frameon=False)
    plots.draw_energy_pair(axes[2], usual, odd, "mean energy of test episodes")
    axes[2].legend(["as in training", "more friction"], fontsize=8)
    plots.save(figure, Path(output) / "rollouts.png")
    return figures


def pushes(states: np.ndarray) -> np.ndarray:
    """What a step's speed has beyond gravity and friction."""
    angle, speed = states[:, :-1, 0], states[:, :-1, 1]
    return states[:, 1:, 1] - speed - 0.1 * (-4 * np.sin(angle) - 0.1 * speed)


if __name__ == "__main__":
    main(*sys.argv[1:])
