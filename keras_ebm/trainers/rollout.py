r"""Learns what comes next in episodes, rolls it out, and scores transitions.

Run it as:

    keras-ebm rollout --episodes=hand:block --output=runs/hand
    keras-ebm rollout --episodes=npz:walks.npz --method=chains \
        --output=runs/walks
    keras-ebm rollout --preset=igebm_hand --dry_run

A share of the episodes is kept for the test. Each test episode is rolled out from its
first state alone. What is written: `results.json`, `picture.png` and, of a model that
is trained, `model.keras`.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_ebm import files, plots
from keras_ebm.arguments import listed
from keras_ebm.data import Episodes, file_of, load_episodes
from keras_ebm.data.episodes import EPISODE_FORMS
from keras_ebm.data.hand import HANDS
from keras_ebm.metrics import auroc
from keras_ebm.trainers.presets import ROLLOUT_PRESETS
from keras_ebm.trainers.program import errors, folders, json_files, options, running
from keras_ebm.trainers.program.options import SEED, Checked, setting
from keras_ebm.trainers.run.flops import step_flops
from keras_ebm.trainers.settings import clashes
from keras_ebm.trainers.settings.networks import widths
from keras_ebm.trajectories import (
    NearestStep,
    StateScale,
    StepChains,
    StepNoise,
    fit_step,
    fit_transitions,
    frechet_over_steps,
    rollout,
    transition_score,
    windows,
)

#: Methods that train nothing, one step by a Gaussian, and energies.
FREE = ("persistence", "nearest")
STEPS = ("mean", "gaussian", "residuals")
ENERGIES = ("noise", "chains", "step_chains")
RESULTS, PICTURE = "results.json", "picture.png"
#: Episodes of a dry run.
FEW = 4


@dataclasses.dataclass(frozen=True)
class RolloutSettings(Checked):
    """Which episodes, what learns them, and how."""

    CHOICES = {
        "method": (*ENERGIES, *STEPS, *FREE),
        "preset": ("", *ROLLOUT_PRESETS),
    }
    SUBJECTS = {"episodes": "Data", "method": "Model", "output": "What is written"}

    episodes: str = setting("", f"One of {', '.join(EPISODE_FORMS)}.")
    data_dir: str = setting("", "Folder that simulated episodes are kept in.")
    num_episodes: int = setting(700, "Episodes of the hand.", low=4)
    num_steps: int = setting(100, "Steps of an episode of the hand.", low=1)
    test_share: float = setting(0.3, "Share of test episodes.", above=0, below=1)
    seed: int = setting(0, "Of episodes, split, training and rollouts.", **SEED)
    method: str = setting("noise", "What learns, or a plain rule to compare with.")
    preset: str = setting("", "Settings of a paper, by name.")
    past: int = setting(2, "States before a transition that are seen.", low=1)
    hidden: tuple = setting(("256", "256"), "Widths of the hidden layers.")
    step_epochs: int = setting(12, "Passes of the one-step Gaussian.", low=1)
    epochs: int = setting(15, "Passes of the energy.", low=1)
    batch_size: int = setting(512, "Transitions of a step of the energy.", low=1)
    learning_rate: float = setting(1e-3, "Of the energy.", above=0)
    copies: int = setting(4, "Negatives of each transition.", low=1)
    candidates: int = setting(20, "Draws of which one is the next state.", low=1)
    walk_steps: int = setting(40, "Langevin steps from that draw on.", low=0)
    walk_size: float = setting(
        0.02, "Of these, in squared units of the Gaussian a nat.", above=0
    )
    chain_steps: int = setting(10, "Steps of a chain.", low=1)
    step_size: float = setting(0.05, "Of a chain, in squared units a nat.", above=0)
    noise_stddev: float = setting(
        -1.0, "Of a chain's step; below 0: that of temperature 1.", low=-1
    )
    start_stddev: float = setting(1.0, "Of where chains start.", low=0)
    max_gradient: float = setting(0.0, "Bound of a chain's gradients; 0: none.", low=0)
    energy_l2: float = setting(0.0, "Weight of squared energies.", low=0)
    gradient_penalty: float = setting(0.0, "Weight of squared gradients.", low=0)
    neighbours: int = setting(10, "Nearest pasts that one is taken of.", low=1)
    output: str = setting("", "Folder of results, picture and model.")
    dry_run: bool = setting(
        False, "Whether to take one step on made-up episodes and write nothing."
    )


#: Flags that only mean something to some methods.
RULES = [
    clashes.Rule("past", "method", (*ENERGIES, *STEPS, "nearest")),
    clashes.Rule("hidden", "method", (*ENERGIES, *STEPS)),
    clashes.Rule("step_epochs", "method", ("noise", "step_chains", *STEPS)),
    clashes.Rule(
        "epochs batch_size learning_rate energy_l2 gradient_penalty", "method", ENERGIES
    ),
    clashes.Rule("copies candidates walk_steps walk_size", "method", ("noise",)),
    clashes.Rule(
        "chain_steps step_size noise_stddev start_stddev max_gradient",
        "method",
        ("chains", "step_chains"),
    ),
    clashes.Rule("neighbours", "method", ("nearest",)),
]


class Persistence:
    """The last state comes next."""

    past = 1

    def __init__(self, scale: StateScale):
        self.scale = scale

    def next_states(self, past: tf.Tensor, random: object) -> tf.Tensor:
        """The last state."""
        del random
        return past[:, -1]


def split(episodes: Episodes, settings: RolloutSettings):
    """`(train, test)` states, by a seeded shuffle of whole episodes."""
    order = np.random.default_rng(settings.seed).permutation(len(episodes))
    num_test = round(settings.test_share * len(episodes))
    if num_test < 2 or len(episodes) - num_test < 2:
        raise ValueError(
            "`test_share` must leave at least 2 episodes to train on and 2 to test. "
            f"Received: test_share={settings.test_share} of {len(episodes)} episodes."
        )
    return episodes.states[order[num_test:]], episodes.states[order[:num_test]]


def fit(states: np.ndarray, settings: RolloutSettings):
    """What the method learns of training episodes `(n, steps + 1, state)`."""
    hidden = widths(settings.hidden, (256, 256))
    if settings.method == "persistence":
        return Persistence(StateScale.of(states))
    if settings.method == "nearest":
        scale = StateScale.of(states)
        rows = np.asarray(scale(windows(states, settings.past)))
        return NearestStep(scale, rows, settings.neighbours)
    noise = {"mean": "none", "residuals": "residuals"}.get(settings.method, "gaussian")
    step = None
    if settings.method != "chains":
        step = fit_step(
            states,
            past=settings.past,
            hidden=hidden,
            noise=noise,
            epochs=settings.step_epochs,
            seed=settings.seed,
        )
    if settings.method in STEPS:
        return step
    return fit_transitions(
        states,
        negatives_of(settings, step),
        past=settings.past,
        hidden=hidden,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        energy_l2=settings.energy_l2,
        gradient_penalty=settings.gradient_penalty,
    )


def negatives_of(settings: RolloutSettings, step=None):
    """Where the negatives of an energy come from."""
    if settings.method == "noise":
        return StepNoise(
            step,
            settings.copies,
            settings.candidates,
            settings.walk_steps,
            settings.walk_size,
        )
    return StepChains(
        step,
        num_steps=settings.chain_steps,
        step_size=settings.step_size,
        noise_stddev=None if settings.noise_stddev < 0 else settings.noise_stddev,
        start_stddev=settings.start_stddev,
        max_gradient=settings.max_gradient or None,
    )


def stick(states: np.ndarray, seed: int):
    """Episodes in each of which one entry of the state sticks from some step on.

    Returns:
        `(stuck, since)`: a copy, and bool `(n, steps)`: transitions since then.
    """
    rng = np.random.default_rng(seed)
    count, length, size = states.shape
    stuck, since = states.copy(), np.zeros((count, length - 1), bool)
    for index in range(count):
        step = int(rng.integers(length // 4, max(length // 4 + 1, 3 * length // 4)))
        entry = int(rng.integers(size))
        stuck[index, step:, entry] = stuck[index, step, entry]
        since[index, step:] = True
    return stuck, since


def stuck_auroc(model, states: np.ndarray, seed: int, entries: int | None = None):
    """How well energies tell transitions since an entry stuck, and whole episodes.

    Args:
        model: what `transition_score` takes.
        states: raw states `(n, steps + 1, state)`, as they are.
        seed: of which entries stick when.
        entries: int, how many of the first entries may stick; None: all.

    Returns:
        Dict of areas under the ROC curve in [0, 1]: of single `transition`s against
        those of the same steps as they were, and of the mean energy of an `episode`
        since then against the same without.
    """
    count = entries or states.shape[-1]
    part, since = stick(states[..., :count], seed)
    stuck = np.concatenate([part, states[..., count:]], axis=-1)
    before, after = transition_score(model, states), transition_score(model, stuck)
    mean = [np.where(since, e, 0).sum(1) / since.sum(1) for e in (before, after)]
    return {
        "transition": float(auroc(before[since], after[since])),
        "episode": float(auroc(*mean)),
    }


def measures(model, train: np.ndarray, test: np.ndarray, seed: int):
    """Figures of a rollout of every test episode, and what they are of.

    Returns:
        `(figures, predicted, curve)`: numbers by name, raw states
        `(n, steps + 1, state)`, and the Frechet distance of each step in squared
        standardised units.
    """
    begin = time.perf_counter()
    predicted = rollout(model, test[:, 0], test.shape[1] - 1, seed)
    seconds = time.perf_counter() - begin
    curve = distance(model.scale, predicted, test)
    floor = distance(model.scale, train[: len(test)], test)
    figures = {
        "frechet": float(curve.mean()),
        "frechet_last": float(curve[-1]),
        "frechet_floor": float(floor.mean()),
        "rollout_seconds": seconds,
    }
    if hasattr(model, "row_energy"):
        figures["energy_test"] = float(transition_score(model, test).mean())
        areas = stuck_auroc(model, test, seed)
        figures |= {f"auroc_stuck_{name}": area for name, area in areas.items()}
    return figures, predicted, curve


def distance(scale: StateScale, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Frechet distance of each step but the start, in standardised units."""
    rows = [np.asarray(scale(states))[:, 1:] for states in (predicted, true)]
    return frechet_over_steps(*rows)


def load(settings: RolloutSettings) -> Episodes:
    """The episodes of the settings."""
    return load_episodes(
        settings.episodes,
        data_dir=settings.data_dir or None,
        num_episodes=settings.num_episodes,
        num_steps=settings.num_steps,
        seed=settings.seed,
    )


def run(settings: RolloutSettings):
    """Learns, rolls out and measures.

    Args:
        settings: `RolloutSettings`.

    Returns:
        `(figures, model, figure)`: numbers by name, the model, and a picture.

    Raises:
        ValueError: if the settings do not fit the episodes or each other.
        RuntimeError: if a rollout left the numbers.
    """
    episodes = load(settings)
    train, test = split(episodes, settings)
    begin = time.perf_counter()
    model = fit(train, settings)
    figures = {
        "episodes": settings.episodes,
        "method": settings.method,
        "train_episodes": len(train),
        "test_episodes": len(test),
        "state_size": int(test.shape[-1]),
        "train_seconds": time.perf_counter() - begin,
    }
    found, predicted, curve = measures(model, train, test, settings.seed)
    floor = distance(model.scale, train[: len(test)], test)
    groups = {"true": test, settings.method: predicted}
    size = test.shape[-1]
    entries = sorted({0, size // 2, size - 1})
    curves = {settings.method: curve, "true episodes": floor}
    return {**figures, **found}, model, plots.episodes_figure(groups, entries, curves)


def dry_run(settings: RolloutSettings) -> dict:
    """Builds the model and takes one step on a few made-up episodes.

    Returns:
        Dict: `parameters`, floating-point operations of a row and a step, the `loss`,
        and the transitions that a whole run would pass through.
    """
    if settings.method not in ENERGIES:
        raise ValueError(
            f"`dry_run` needs a method with an energy, one of {listed(ENERGIES)}. "
            f"Received: method={settings.method!r}."
        )
    name = settings.episodes.partition(":")[2]
    if settings.episodes and name not in HANDS:
        states = load(settings).states[:FEW]
    else:
        size = HANDS[name or "block"][1]
        rng = np.random.default_rng(settings.seed)
        moves = rng.normal(size=(FEW, 1 + min(settings.num_steps, 20), size))
        states = moves.cumsum(axis=1).astype(np.float32)
    few = dataclasses.replace(settings, epochs=1, step_epochs=1)
    model = fit(states, few)
    rows = tf.constant(windows(states, model.past)[:2])
    labels = -tf.ones([2], tf.int32)
    result = {"parameters": model.network.count_params()}
    flops = step_flops(model, rows, labels)
    flops["flops_step_of_batch"] = flops["flops_step"] * settings.batch_size
    logs = model.train_on_batch(rows, labels, return_dict=True)
    loss = float(logs["loss"])
    if not np.isfinite(loss):
        raise ValueError(f"The first step's loss is not finite. Received: {loss}.")
    share = (1 - settings.test_share) * settings.num_episodes
    passed = round(share) * settings.num_steps * settings.epochs
    return {**result, **flops, "loss": loss, "transitions_of_run": passed}


def check_output(settings: RolloutSettings) -> Path:
    """The folder of `--output`, none of whose files is what is read."""
    folder = folders.require_folder("output")
    written = {name: str(folder / name) for name in (RESULTS, PICTURE)}
    written["model"] = str(folder / folders.MODEL_FILE)
    read = {"episodes": file_of(settings.episodes) or ""}
    folders.check_apart(written, read)
    return folder


def main(argv: list[str]) -> None:
    del argv
    options.apply_preset(ROLLOUT_PRESETS)
    settings = options.from_flags(RolloutSettings)
    clashes.check(RULES)
    if settings.dry_run:
        with errors.usage_errors():
            result = dry_run(settings)
        for name, value in result.items():
            text = f"{value:.4f}" if isinstance(value, float) else f"{value:,}"
            print(f"{name:22s} {text}")
        return
    options.require("episodes")
    folder = check_output(settings)
    with errors.usage_errors():
        plots.pyplot()
        figures, model, figure = run(settings)
    files.make_folder(folder)
    json_files.write_json(folder / RESULTS, figures)
    plots.save(figure, folder / PICTURE)
    if settings.method not in FREE:
        files.save_model(model, folder / folders.MODEL_FILE)
    json_files.print_metrics({**figures, "output": str(folder)})


if __name__ == "__main__":
    options.define_flags(RolloutSettings)
    running.run_program(main)
