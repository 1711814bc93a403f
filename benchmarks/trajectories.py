r"""Rollouts and anomalies of the Shadow hand with a cube, by energies and without.

700 random-policy episodes of 100 steps; a seed is a split into 490 and 210 episodes, a
training and its rollouts. Run from the top of the checkout:

    python -m benchmarks.trajectories --data_dir=DIR \
        --output=benchmarks/results/trajectories.json --picture=docs/trajectories.png

What is in the file already is not repeated. Settings were chosen on the episodes of
another seed of the simulator.
"""

import dataclasses
import os
import time

import keras
import numpy as np
import tensorflow as tf
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.machine import machine
from keras_ebm import plots
from keras_ebm.data import load_episodes
from keras_ebm.metrics import auroc
from keras_ebm.random import StepRandom
from keras_ebm.trainers import rollout as program
from keras_ebm.trainers.program import json_files, options, running
from keras_ebm.trajectories import (
    StepChains,
    StepNoise,
    fit_step,
    fit_transitions,
    frechet_over_steps,
    plan,
    rollout,
    transition_score,
    windows,
)

SPEC, JOINTS = "hand:block", 24
#: Steps from the start to the goal of a plan, and plans of a seed.
HORIZON, PLANS = 10, 50


def step_of(seed: int, train: np.ndarray, past: int, noise: str):
    return fit_step(train, past=past, noise=noise, seed=seed)


def diagonal(seed: int, train: np.ndarray):
    """The Gaussian without the covariances of its residuals."""
    step = step_of(seed, train, 1, "gaussian")
    root = np.asarray(step.root)
    step.root.assign(np.diag(np.sqrt(np.square(root).sum(axis=1))))
    return step


def plain_chains(seed: int, train: np.ndarray):
    """As in the paper: the network is the energy, chains start about the last state."""
    source = StepChains(
        step_size=0.05, noise_stddev=0.1, start_stddev=0.7, max_gradient=3.0
    )
    return fit_transitions(
        train,
        source,
        past=1,
        hidden=(128, 128, 128),
        epochs=4,
        seed=seed,
        energy_l2=1.0,
    )


def step_chains(seed: int, train: np.ndarray):
    """Chains over the residuals of the Gaussian, whose energy is corrected."""
    source = StepChains(
        step_of(seed, train, 2, "gaussian"), step_size=0.1, start_stddev=1.0
    )
    return fit_transitions(
        train,
        source,
        hidden=(128, 128, 128),
        epochs=4,
        seed=seed,
        energy_l2=0.01,
        gradient_penalty=0.05,
    )


def contrast(seed: int, train: np.ndarray):
    """Noise contrast against the Gaussian, resampled among 50 draws."""
    step = step_of(seed, train, 2, "gaussian")
    return fit_transitions(train, StepNoise(step), epochs=10, seed=seed)


def contrast_walked(seed: int, train: np.ndarray):
    """The same, walked on by Langevin steps from one of 20 draws."""
    model = contrast(seed, train)
    source = model.negatives
    source.candidates, source.num_steps = 20, 40
    return model


def after_true_pasts(model, test: np.ndarray, seed: int) -> np.ndarray:
    """Draws of one step from every second true past, `(n, steps / 2, state)`, raw."""
    rows = np.asarray(model.scale(windows(test, model.past)))
    rows = rows.reshape(len(test), -1, *rows.shape[1:])[:, 10::2, :-1]
    drawn = [
        np.asarray(model.scale.raw(model.next_states(part, StepRandom(seed, index))))
        for index, part in enumerate(tf.constant(rows))
    ]
    return np.stack(drawn)


def one_step_told_apart(model, test: np.ndarray, seed: int) -> float:
    """As `told_apart`, of one step from true pasts alone."""
    drawn = after_true_pasts(model, test, seed)
    past, last, true = (
        test[:, 9 + i : 9 + i + 2 * drawn.shape[1] : 2] for i in (0, 1, 2)
    )
    sides = [
        np.concatenate([last, last - past, after - last], axis=-1)
        for after in (drawn, true)
    ]
    return trees_auroc(*sides)


def one_steps(seed: int, train: np.ndarray, test: np.ndarray) -> dict:
    """`one_step_told_apart` of the Gaussian and of what contrast makes of it."""
    model = contrast(seed, train)
    found = {
        "Gaussian, 2 states": one_step_told_apart(model.negatives.step, test, seed)
    }
    found["noise contrast"] = one_step_told_apart(model, test, seed)
    model.negatives.candidates, model.negatives.num_steps = 20, 40
    found["noise contrast, walked"] = one_step_told_apart(model, test, seed)
    return found


def free(method: str):
    def make(seed, train):
        settings = program.RolloutSettings(method=method, seed=seed, past=1)
        return program.fit(train, settings)

    return make


#: What is compared: free alternatives, then energies.
METHODS = {
    "persistence": free("persistence"),
    "nearest": free("nearest"),
    "mean": lambda seed, train: step_of(seed, train, 1, "none"),
    "diagonal Gaussian": diagonal,
    "Gaussian": lambda seed, train: step_of(seed, train, 1, "gaussian"),
    "residuals": lambda seed, train: step_of(seed, train, 1, "residuals"),
    "Gaussian, 2 states": lambda seed, train: step_of(seed, train, 2, "gaussian"),
    "noise contrast": contrast,
    "noise contrast, walked": contrast_walked,
    "chains on the Gaussian": step_chains,
    "chains, plain": plain_chains,
}


def features(states: np.ndarray) -> np.ndarray:
    """A state, the change to it and the one from it, `(n, steps - 1, 3 * state)`."""
    change = np.diff(states, axis=1)
    return np.concatenate([states[:, 1:-1], change[:, :-1], change[:, 1:]], axis=-1)


def told_apart(made: np.ndarray, true: np.ndarray) -> float:
    """AUROC of boosted trees that tell two transitions in a row from true ones.

    Trees see one half of the episodes and are judged by the other; 0.5 is a perfect
    rollout. The first ten steps, in which episodes leave their starts, are left out.
    """
    return trees_auroc(*(features(states)[:, 10:] for states in (made, true)))


def trees_auroc(*sides: np.ndarray) -> float:
    """AUROC of boosted trees between made and true `(n, steps, d)`."""
    halves = []
    for part in (slice(0, None, 2), slice(1, None, 2)):
        x = [side[part].reshape(-1, side.shape[-1]) for side in sides]
        y = np.repeat([1, 0], [len(x[0]), len(x[1])])
        halves.append((np.concatenate(x), y))
    trees = HistGradientBoostingClassifier(max_iter=60, random_state=0)
    trees.fit(*halves[0])
    x, y = halves[1]
    score = trees.decision_function(x)
    return float(auroc(score[y == 0], score[y == 1]))


def moves_distance(scale, made: np.ndarray, true: np.ndarray, unit) -> float:
    """Frechet distance of states together with the changes to them."""
    pairs = []
    for states in (made, true):
        rows = np.asarray(scale(states))
        change = np.diff(rows, axis=1) / unit
        pairs.append(np.concatenate([rows[:, 1:], change], axis=-1))
    return float(frechet_over_steps(*pairs).mean())


def planned(model, train: np.ndarray, test: np.ndarray, unit) -> dict:
    """Plans from one state of an episode to the one `HORIZON` steps on."""
    test = test[:PLANS, 20 : 20 + HORIZON + 1]
    true = transition_score(model, test)[:, 1:].mean()
    found = plan(model, test[:, :2], test[:, -1], HORIZON - 1)
    line = test[:, 1:2] + np.linspace(0, 1, HORIZON)[None, :, None] * (
        test[:, -1:] - test[:, 1:2]
    )
    straight = transition_score(model, line.astype(np.float32))
    return {
        "plan_energy": float(found.energy.mean()),
        "plan_miss": float(found.miss.mean()),
        "plan_energy_true": float(true),
        "plan_energy_line": float(straight.mean()),
    }


def run_one(name: str, seed: int, train: np.ndarray, test: np.ndarray):
    """Figures of a method and a seed, and its rollouts."""
    begin = time.process_time()
    model = METHODS[name](seed, train)
    trained = time.process_time()
    made = rollout(model, test[:, 0], test.shape[1] - 1, seed)
    rolled = time.process_time()
    unit = np.diff(np.asarray(model.scale(train)), axis=1).std(axis=(0, 1))
    figures = {
        "frechet": float(program.distance(model.scale, made, test).mean()),
        "frechet_moves": moves_distance(model.scale, made, test, unit),
        "told_apart": told_apart(made, test),
        "train_seconds": trained - begin,
        "rollout_seconds": rolled - trained,
    }
    if hasattr(model, "row_energy"):
        areas = program.stuck_auroc(model, test, seed, JOINTS)
        figures |= {f"stuck_{key}": area for key, area in areas.items()}
        figures["energy"] = float(transition_score(model, test).mean())
        figures |= planned(model, train, test, unit)
    return figures, made, model


def stillness(states: np.ndarray) -> np.ndarray:
    """How still the stillest joint was over three transitions, `(n, steps)`.

    What needs no model: higher is stiller, in units of a joint's usual change.
    """
    change = np.abs(np.diff(states[..., :JOINTS], axis=1))
    unit = change.mean(axis=(0, 1))
    before = np.concatenate([change[:, :1], change[:, :1], change], axis=1)
    longest = np.max([before[:, :-2], before[:, 1:-1], change], axis=0)
    return -(longest / unit).min(axis=-1)


def stuck_by_stillness(test: np.ndarray, seed: int) -> dict:
    """The areas of `program.stuck_auroc` by `stillness`."""
    stuck, since = program.stick(test[..., :JOINTS], seed)
    before, after = stillness(test), stillness(stuck)
    mean = [np.where(since, s, 0).sum(1) / since.sum(1) for s in (before, after)]
    return {
        "stuck_transition": float(auroc(before[since], after[since])),
        "stuck_episode": float(auroc(*mean)),
    }


def floor_of(train: np.ndarray, test: np.ndarray) -> dict:
    """The same figures of true episodes, as many as there are test episodes."""
    scale = program.StateScale.of(train)
    unit = np.diff(np.asarray(scale(train)), axis=1).std(axis=(0, 1))
    part = train[: len(test)]
    return {
        "frechet": float(program.distance(scale, part, test).mean()),
        "frechet_all": float(program.distance(scale, train, test).mean()),
        "frechet_moves": moves_distance(scale, part, test, unit),
        "told_apart": told_apart(part, test),
    }


def table(runs: dict) -> str:
    """Markdown of means ± standard deviations over seeds."""
    keys = ("frechet", "frechet_moves", "told_apart", "stuck_episode", "energy")
    lines = [
        "| | Frechet | with moves | told apart | stuck joint | energy | seconds "
        "| seeds |",
        "|---" * 8 + "|",
    ]
    for name in ("true episodes", "stillest joint", *METHODS):
        found = [run[name] for run in runs.values() if name in run]
        if not found:
            continue
        cells = []
        for key in keys:
            values = [one[key] for one in found if key in one]
            cells.append(
                f"{np.mean(values):.2f} ± {np.std(values):.2f}" if values else ""
            )
        seconds = [one["train_seconds"] for one in found if "train_seconds" in one]
        cells.append(f"{np.mean(seconds):.0f}" if seconds else "")
        cells.append(f"{len(found)}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(path: str, test: np.ndarray, made: dict, scale, train: np.ndarray) -> None:
    """The picture of the page: a joint, a wrist and the height of the cube."""
    curves = {
        name: program.distance(scale, states, test) for name, states in made.items()
    }
    curves["true episodes"] = program.distance(scale, train[: len(test)], test)
    names = ["first finger, joint 1 (rad)", "wrist, joint 1 (rad)", "cube, height (m)"]
    figure = plots.episodes_figure({"true": test, **made}, (4, 0, 26), curves, names)
    plots.save(figure, path)


@dataclasses.dataclass(frozen=True)
class TrajectorySettings:
    """Flags of the benchmark."""

    output: str = options.setting("", "JSON file to write and to continue.")
    picture: str = options.setting("", "PNG file of the first seed's rollouts.")
    data_dir: str = options.setting("", "Folder that simulated episodes are kept in.")
    seeds: int = options.setting(3, "Seeds 0, 1, ...")
    simulation: int = options.setting(0, "Seed of the simulator.")


#: What the picture shows.
SHOWN = ("mean", "Gaussian, 2 states", "noise contrast", "chains, plain")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(TrajectorySettings)
    output = options.require("output")
    saved = {"machine": machine(), "episodes": SPEC, "split": [490, 210], "runs": {}}
    if os.path.exists(output):
        saved = json_files.read_json(output)
    episodes = load_episodes(
        SPEC, data_dir=settings.data_dir or None, seed=settings.simulation
    )
    made, scale = {}, None
    for seed in range(settings.seeds):
        train, test = program.split(episodes, program.RolloutSettings(seed=seed))
        run = saved["runs"].setdefault(str(seed), {})
        if "true episodes" not in run:
            run["true episodes"] = floor_of(train, test)
        run["stillest joint"] = stuck_by_stillness(test, seed)
        if "one step" not in run:
            run["one step"] = one_steps(seed, train, test)
        for name in METHODS:
            drawn = settings.picture and seed == 0 and name in SHOWN
            if name in run and not drawn:
                continue
            keras.backend.clear_session()
            figures, states, model = run_one(name, seed, train, test)
            run.setdefault(name, figures)
            json_files.write_json(output, saved)
            if drawn:
                made[name], scale = states, model.scale
        if settings.picture and seed == 0:
            draw(settings.picture, test, made, scale, train)
    json_files.write_json(output, saved)
    print(table(saved["runs"]))


if __name__ == "__main__":
    options.define_flags(TrajectorySettings)
    running.run_program(main)
