r"""What `Doctor` says of runs that were broken on purpose, and of healthy ones.

Small models are trained for a few hundred steps on two data sets, each as it should be
and with faults, from several seeds. A broken run is named if the state of an
examination in its first third is one that is right for its fault; a healthy run is
accused if any examination of the whole run finds anything. The limits in
`keras_ebm.callbacks.doctor_rules` were chosen on `--part=tuning`, which has other data
sets and other seeds, before the reported part was run. Ten minutes on one thread; run
from the top of the checkout:

    python -m benchmarks.doctor --output=benchmarks/results/doctor.json

What is in the file already is not repeated.
"""

import dataclasses
import os
import time
import warnings
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks.machine import machine
from keras_ebm import entropy, generators, models, negatives, networks, objectives
from keras_ebm.callbacks import Doctor
from keras_ebm.callbacks.doctor_rules import HEALTHY
from keras_ebm.data import load, toy
from keras_ebm.trainers.program import json_files, options, running

STEPS, EVERY, BATCH = 240, 20, 64
COST_STEPS = 400
RATE, GENERATOR_RATE = 1e-3, 1e-3
#: Of an energy whose generator has to follow it without classes to hold on to.
SLOW_RATE = 3e-4
#: The programs' default of the energy's rate, which rates x 100 are of.
DEFAULT_RATE = 2e-3
#: Data sets of each part, among which seeds are dealt out, and the first seed.
PARTS = {
    "reported": (("moons", "digits"), 100),
    "tuning": (("rings", "breast_cancer"), 1000),
}


def rows(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Standardised rows and their classes; those of points are halves of the plane."""
    if name in toy.DENSITIES:
        x = toy.draw(name, 1_000, seed=0)
        return x / x.std(), (x[:, 0] > 0).astype(np.int32)
    if name == "digits":
        data = load("digits")
        x = np.asarray(data.x, np.float32).reshape(len(data.x), -1)
        return 2.0 * x / x.max() - 1.0, np.asarray(data.y, np.int32)
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return x.astype(np.float32), y.astype(np.int32)


def _network(x, num_outputs=1):
    return networks.mlp_energy(x.shape[1:], num_outputs, hidden=(64, 64))


def _generator(x, **kwargs):
    latents = min(8, x.shape[1])
    decoder = networks.mlp_decoder(latents, x.shape[1:], hidden=(64, 64))
    return generators.GaussianGenerator(decoder, **kwargs)


def vera(x, y, **changes):
    """VERA without classes, by the papers' likelihood."""
    settings = {"gradient_penalty": 0.1, "entropy": entropy.LogVolume(), **changes}
    return models.VERA(_network(x), _generator(x), **settings)


def vera_classes(x, y, **changes):
    """VERA with classes: the logistic objective beside a cross-entropy."""
    settings = {
        "objective": "logistic",
        "energy_weight": 0.1,
        "entropy": entropy.LogVolume(),
        **changes,
    }
    return models.VERA(_network(x, int(y.max()) + 1), _generator(x), **settings)


def vera_mixed(x, y):
    """As `vera_classes`, with negatives of the batch beside the generator's."""
    source = negatives.Mixed([negatives.ColumnShuffle(), negatives.Jitter()])
    return vera_classes(x, y, negatives=source)


def starved(x, y):
    """VERA by importance sampling, of a sigma that leaves it one proposal."""
    generator = _generator(x, initial_stddev=1e-5, stddev_bounds=(1e-6, 1e-5))
    return models.VERA(_network(x), generator, gradient_penalty=0.1)


def _moves(step_size=0.01, num_steps=20, **kwargs):
    return negatives.LangevinMoves(num_steps, step_size, None, **kwargs)


def contrastive_divergence(x, y, moves=None):
    """Chains that start from the data."""
    source = negatives.MarkovChains(
        moves or _moves(num_steps=5), start="data", start_stddev=0.0
    )
    return models.LangevinModel(_network(x), source, gradient_penalty=0.01)


def persistent(x, y, moves=None):
    """Chains of a replay buffer."""
    buffer = negatives.ReplayBuffer(x.shape[1:], 512)
    source = negatives.MarkovChains(moves or _moves(), buffer)
    return models.LangevinModel(_network(x), source)


def short_run(x, y, moves=None):
    """Fresh chains in a box."""
    box = (float(x.min()), float(x.max()))
    source = negatives.MarkovChains(moves(box) if moves else _moves(0.02, box=box))
    return models.LangevinModel(_network(x), source)


def joint(x, y):
    """JEM: chains of a buffer, and a cross-entropy."""
    buffer = negatives.ReplayBuffer(x.shape[1:], 512)
    source = negatives.MarkovChains(_moves(), buffer)
    return models.LangevinModel(_network(x, int(y.max()) + 1), source)


def metropolis(x, y, **moves):
    """Persistent chains with an adapted step size."""
    buffer = negatives.ReplayBuffer(x.shape[1:], 512)
    source = negatives.MarkovChains(negatives.MALAMoves(10, **moves), buffer)
    return models.LangevinModel(_network(x), source)


def jitter(x, y):
    """A density ratio to rows with noise."""
    return models.EnergyModel(
        _network(x), negatives=negatives.Jitter(), objective="logistic"
    )


def likelihood(x, y):
    """NICE by maximum likelihood."""
    network = networks.NICE(x.shape[1], hidden=(64,))
    return models.DensityModel(network, objectives.MaximumLikelihood())


@dataclasses.dataclass(frozen=True)
class Case:
    """A kind of run: how its model is built, its rates, and the states that are right.

    A case without right states is healthy. `steps` are those of the whole run.
    """

    build: Callable
    right: tuple[str, ...] = ()
    rate: float = RATE
    generator_rate: float = GENERATOR_RATE
    nan_row: bool = False
    labels: bool = False
    steps: int = STEPS


_RATE = ("drifting", "oscillating", "not_finite")
_THROWN = (*_RATE, "generator_jumping")
_FROZEN = ("chains_frozen",)
_LAGGING = ("generator_lagging", "drifting")
_STEPS = ("chains_overshooting", "chains_scattered", "chains_saturated", "not_finite")
CASES = {
    "VERA": Case(vera, rate=SLOW_RATE),
    "VERA, importance": Case(
        lambda x, y: vera(x, y, entropy=entropy.ImportanceSampling()), rate=SLOW_RATE
    ),
    "VERA, classes": Case(vera_classes, labels=True),
    "VERA, mixed negatives": Case(vera_mixed, labels=True),
    "contrastive divergence": Case(contrastive_divergence),
    "persistent chains": Case(persistent),
    "short runs": Case(short_run),
    "MALA": Case(metropolis),
    "JEM": Case(joint, labels=True),
    "logistic, jitter": Case(jitter),
    "NICE": Case(likelihood),
    "VERA, rates x 100": Case(
        vera, _THROWN, rate=100 * DEFAULT_RATE, generator_rate=100 * GENERATOR_RATE
    ),
    "VERA, classes, rates x 100": Case(
        vera_classes,
        _THROWN,
        rate=100 * DEFAULT_RATE,
        generator_rate=100 * GENERATOR_RATE,
        labels=True,
    ),
    "chains, rate x 100": Case(
        persistent,
        (*_RATE, "chains_scattered", "chains_overshooting"),
        rate=100 * DEFAULT_RATE,
    ),
    "VERA, no penalty, rate x 30": Case(
        lambda x, y: vera(x, y, gradient_penalty=0.0), _RATE, rate=30 * RATE
    ),
    "generator frozen": Case(vera, _LAGGING, generator_rate=1e-9),
    "generator rate x .001": Case(vera, _LAGGING, generator_rate=1e-3 * RATE),
    "no entropy": Case(
        lambda x, y: vera(x, y, entropy_weight=0.0),
        ("generator_collapsed", "generator_jumping"),
        rate=SLOW_RATE,
        generator_rate=3 * GENERATOR_RATE,
        steps=2 * STEPS,
    ),
    "one proposal": Case(starved, ("entropy_starved",)),
    "chain step ~ 0, data": Case(
        lambda x, y: contrastive_divergence(x, y, _moves(1e-8, 1)), _FROZEN
    ),
    "chain step ~ 0, buffer": Case(
        lambda x, y: persistent(x, y, _moves(1e-8, 1)), _FROZEN
    ),
    "chain step x 1000": Case(lambda x, y: persistent(x, y, _moves(10.0)), _STEPS),
    "chain step x 1000, box": Case(
        lambda x, y: short_run(x, y, lambda box: _moves(10.0, box=box)), _STEPS
    ),
    "MALA, step x 1000": Case(
        lambda x, y: metropolis(x, y, initial_step_size=10.0, adaptation_rate=1e-4),
        ("chains_rejected", *_STEPS),
    ),
    "NaN in a row": Case(vera, ("not_finite",), nan_row=True),
}


class Bench:
    """A case on a data set: its model is traced once, and begun anew for each seed."""

    def __init__(self, case: Case, name: str):
        self.case, (self.x, self.y) = case, rows(name)
        keras.utils.set_random_seed(0)
        self.model = model = case.build(self.x, self.y)
        # The seed as a variable, which a graph reads at every step.
        model.seed = tf.Variable(0, dtype=tf.int64, trainable=False)
        # The moments are those of the programs.
        adams = [
            keras.optimizers.Adam(case.rate, 0.9, 0.99),
            keras.optimizers.Adam(case.generator_rate, 0.5, 0.99),
        ]
        model.compile(*adams[: 1 + (model.generator is not None)])
        self.begun = [variable.numpy() for variable in self._variables()]

    def _variables(self):
        optimizers = self.model.named_optimizers().values()
        return [*self.model.variables, *(v for o in optimizers for v in o.variables)]

    def _begin(self, seed: int):
        for variable, value in zip(self._variables(), self.begun, strict=True):
            variable.assign(value)
        self.model.seed.assign(seed)
        rng = np.random.default_rng((seed, 1))
        # Initial weights are independent draws, so another order is another draw.
        for variable in self.model.trainable_variables:
            entries = rng.permutation(variable.numpy().ravel())
            variable.assign(entries.reshape(variable.shape))

    def _batches(self, seed: int):
        rng = np.random.default_rng(seed)
        x = self.x
        if self.case.nan_row:
            x = x.copy()
            x[rng.integers(len(x)), 0] = np.nan
        index = rng.integers(len(x), size=(self.case.steps, BATCH))
        if self.case.nan_row:
            # Of a row that a pass over the data comes to.
            index[rng.integers(EVERY), 0] = np.flatnonzero(np.isnan(x[:, 0]))[0]
        labels = self.y if self.case.labels else np.full_like(self.y, -1)
        data = tf.data.Dataset.from_tensor_slices((x[index], labels[index]))
        return data.repeat()

    def run(self, seed: int) -> Doctor:
        """A run by a new doctor; of a broken one the third that counts."""
        self._begin(seed)
        rng = np.random.default_rng(seed)
        doctor = Doctor(self.x[rng.permutation(len(self.x))[:64]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self.model.fit(
                self._batches(seed),
                epochs=self.case.steps // EVERY // (3 if self.case.right else 1),
                steps_per_epoch=EVERY,
                verbose=0,
                callbacks=[doctor],
                shuffle=False,
            )
        return doctor


def cost(repeats: int = 3) -> dict:
    """Seconds of `COST_STEPS` steps on digits, without a doctor and with one.

    Examinations come as often as in the programs, every 100 steps.
    """
    found = {}
    for name in ("VERA", "persistent chains", "short runs"):
        bench = Bench(dataclasses.replace(CASES[name], steps=COST_STEPS), "digits")
        seconds: dict[str, list] = {"without": [], "with": []}
        for repeat in range(repeats + 1):
            for kind, every in (("without", 0), ("with", 100)):
                bench._begin(repeat)
                callbacks = [Doctor(bench.x, every)] if every else []
                begun = time.perf_counter()
                bench.model.fit(
                    bench._batches(repeat),
                    steps_per_epoch=COST_STEPS,
                    verbose=0,
                    callbacks=callbacks,
                    shuffle=False,
                )
                seconds[kind].append(time.perf_counter() - begun)
        # The first is spent on tracing.
        found[name] = {kind: float(np.median(v[1:])) for kind, v in seconds.items()}
    return found


def cost_line(found: dict) -> str:
    """What a run takes with a doctor, over what it takes without."""
    parts = [
        f"{name} {times['with'] / times['without']:.3f}"
        for name, times in found.items()
    ]
    return f"time with a doctor over time without: {', '.join(parts)}"


def first_found(doctor: Doctor) -> list:
    """`(state, step)` of each examination that found something."""
    return [
        [examined["state"], examined["step"]]
        for examined in doctor.examinations
        if examined["state"] != HEALTHY
    ]


def verdict(case: Case, found: list) -> str:
    """What a run counts as: `healthy`, a state that is right, or `wrong: STATE`.

    Of a broken run the first third of its steps counts, of a healthy one all.
    """
    if case.right:
        found = [pair for pair in found if pair[1] <= case.steps // 3]
    states = [state for state, _ in found]
    right = [state for state in states if state in case.right]
    if right:
        return right[0]
    return f"wrong: {states[0]}" if states else "healthy"


def table(runs: dict) -> str:
    """Markdown: the cases, how many runs were named, and as what."""
    lines = [
        "| run | right states | named within a third | accused | said, and how often |",
        "|---|---|---|---|---|",
    ]
    for name, case in CASES.items():
        verdicts = [
            verdict(case, found)
            for key, found in runs.items()
            if key.split(" | ")[0] == name
        ]
        if not verdicts:
            continue
        right = sum(said in case.right for said in verdicts)
        healthy = sum(said == "healthy" for said in verdicts)
        named = f"{right} of {len(verdicts)}" if case.right else ""
        accused = "" if case.right else f"{len(verdicts) - healthy} of {len(verdicts)}"
        said = {word: verdicts.count(word) for word in sorted(set(verdicts))}
        told = ", ".join(f"{word} {count}" for word, count in said.items())
        states = ", ".join(case.right) or "healthy"
        lines.append(f"| {name} | {states} | {named} | {accused} | {told} |")
    return "\n".join([*lines, "", totals(runs)])


def totals(runs: dict) -> str:
    """Both shares over all runs, beside the aims."""
    counts = {True: [0, 0], False: [0, 0]}
    for key, found in runs.items():
        case = CASES[key.split(" | ")[0]]
        said = verdict(case, found)
        count = counts[bool(case.right)]
        count[0] += said in case.right if case.right else said != "healthy"
        count[1] += 1
    parts = []
    aims = {
        True: ("broken runs named", "at least 90"),
        False: ("healthy runs accused", "at most 2"),
    }
    for broken, (what, aim) in aims.items():
        part, whole = counts[broken]
        if whole:
            share = 100.0 * part / whole
            parts.append(f"{what}: {part} of {whole}, {share:.1f} % (aim: {aim} %)")
    return "; ".join(parts)


@dataclasses.dataclass(frozen=True)
class DoctorSettings(options.Checked):
    """Flags of the benchmark."""

    CHOICES = {"part": tuple(PARTS)}

    output: str = options.setting("", "JSON file to write and to continue.")
    part: str = options.setting("reported", "Data sets and seeds: reported or tuning.")
    seeds: int = options.setting(
        10, "Seeds of each case, on one data set after the other."
    )
    measures: str = options.setting(
        "", "JSON file for the measures of all examinations."
    )


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(DoctorSettings)
    output = options.require("output")
    names, first = PARTS[settings.part]
    saved = {"machine": machine(), "part": settings.part, "steps": STEPS, "runs": {}}
    if os.path.exists(output):
        saved = json_files.read_json(output)
    measures: dict = {}
    for case in CASES:
        for place, name in enumerate(names):
            seeds = range(first + place, first + settings.seeds, len(names))
            keys = [f"{case} | {name} | {seed}" for seed in seeds]
            keys = [key for key in keys if key not in saved["runs"]]
            if not keys:
                continue
            keras.backend.clear_session()
            bench = Bench(CASES[case], name)
            for key in keys:
                doctor = bench.run(int(key.split(" | ")[2]))
                saved["runs"][key] = first_found(doctor)
                measures[key] = doctor.examinations
            json_files.write_json(output, saved)
            if settings.measures:
                json_files.write_json(settings.measures, measures)
    if settings.part == "reported" and "cost" not in saved:
        saved["cost"] = cost()
        json_files.write_json(output, saved)
    print(table(saved["runs"]))
    if "cost" in saved:
        print(cost_line(saved["cost"]))


if __name__ == "__main__":
    options.define_flags(DoctorSettings)
    running.run_program(main)
