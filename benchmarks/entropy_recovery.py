r"""How much of a generator's entropy gradient each estimator recovers, at what cost.

Recovery is `<g, truth> / <truth, truth>` and cosine the angle's, for the gradient
in the decoder's weights on frozen generators (`benchmarks.entropy_truth`), from
mirrored draws other than the truth's; noise is the power of what a batch of
200 adds to the mean estimate, over the truth's power. Importance sampling has its
widths at the optimum of its lower bound, HMC its step size adapted beforehand, and
the critic of mutual information is trained beforehand (1,000 steps of 256,
Adam at 1e-3). Run from the top of the checkout:

    python -m benchmarks.entropy_recovery --output=benchmarks/results

Cost counts passes of a sample through the generator beyond those of a step without
entropy: a forward pass, a product `J v` or `J' w`, and each of their backward
passes count 1, so a product that is itself differentiated counts 4.
Importance sampling of S proposals: S, and 2 for its widths' step. HMC: 2 for each
leapfrog step (1 in `compat`, whose force needs no decoder), 2 to start (1) and 1 for
each kept state. Log-volume, dense: 4 k. Iterative with m steps: 2 to linearise, 1
for the preconditioner, 2 m to solve, 4 for the probe: 7 + 2 m; and 1 + 2 m more
where `log q(x)` is wanted, which is not counted. The others: 0; the critic of mutual
information costs passes of its own, and algebra in the latent's dimension
is left out for all (`benchmarks.estimator_cost` times whole steps).
"""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks import entropy_report, entropy_truth
from benchmarks.machine import machine
from keras_ebm import plots
from keras_ebm.entropy import (
    Draw,
    ExactLinear,
    HamiltonianChains,
    ImportanceSampling,
    LogVolume,
    MutualInformation,
)
from keras_ebm.models.updating import descend
from keras_ebm.random import StepRandom
from keras_ebm.trainers.program import json_files, options, running


def _hmc(num: int, compat: bool = False):
    # A faster adaptation than the default, as the chains here start cold.
    return HamiltonianChains(num, num, adaptation_rate=0.1, compat=compat)


#: Builders of the estimators by name; None stands for no entropy.
ESTIMATORS = {
    "none": lambda: None,
    "importance, 20": lambda: ImportanceSampling(20),
    "importance, 100": lambda: ImportanceSampling(100),
    "importance, 20, widened 3": lambda: ImportanceSampling(20, widening=3.0),
    "log volume, dense": lambda: LogVolume("dense"),
    "log volume, dense, fold 1": lambda: LogVolume("dense", fold_weight=1.0),
    "log volume, 2 iterations": lambda: LogVolume("iterative", 2),
    "log volume, 5 iterations": lambda: LogVolume("iterative", 5),
    "HMC, 2+2": lambda: _hmc(2),
    "HMC, 10+10": lambda: _hmc(10),
    "HMC, 2+2, compat": lambda: _hmc(2, compat=True),
    "mutual information, JS": MutualInformation,
    "mutual information, DV": lambda: MutualInformation("donsker_varadhan"),
    "exact linear": ExactLinear,
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """A generator to measure on: how to build it, and from how many draws."""

    make: Callable
    draws: int
    linear: bool = False


def cases(draws: int, training_steps: int) -> dict[str, Setting]:
    """The generators by name; `draws` mirrored latents each, half for D=784."""
    found = {}
    sizes = [(2, 1), (20, 2), (50, 10), (784, 100)]
    for wide, (size, latent_dim) in [*((False, s) for s in sizes), (True, sizes[-1])]:
        count = draws if size < 100 else draws // 2

        def make(seed, size=size, latent_dim=latent_dim, wide=wide):
            return entropy_truth.linear(size, latent_dim, seed, wide)

        kind = "linear, wide" if wide else "linear"
        found[f"{kind}, D={size}, k={latent_dim}"] = Setting(make, count, True)
    for size, latent_dim in ((10, 2), (10, 3), (50, 8)):

        def make(seed, size=size, latent_dim=latent_dim):
            return entropy_truth.random_network(size, latent_dim, seed, draws)

        found[f"tanh MLP, D={size}, k={latent_dim}"] = Setting(make, draws)
    for entropy, name in (("importance", "folded"), ("log_volume", "unfolded")):

        def make(seed, entropy=entropy):
            return entropy_truth.trained(entropy, seed, draws, training_steps)

        found[f"trained, {name}, D=2, k=2"] = Setting(make, draws)
    return found


def passes(estimator, latent_dim: int) -> int:
    """Passes through the generator; see the module's docstring."""
    match estimator:
        case ImportanceSampling():
            return estimator.num_samples + 2
        case HamiltonianChains():
            each = 1 if estimator.compat else 2
            steps = estimator.num_burn_in + estimator.num_samples
            return each * (steps * estimator.num_leapfrog + 1) + estimator.num_samples
        case LogVolume(method="dense"):
            return 4 * latent_dim
        case LogVolume():
            return 7 + 2 * estimator.num_iterations
    return 0


def serves(estimator, case, setting: Setting) -> bool:
    """Whether an estimator can be measured on a case."""
    generator = case.generator
    if estimator is None:
        return True
    if isinstance(estimator, ExactLinear) and not setting.linear:
        return False
    folds = isinstance(estimator, LogVolume) and estimator.fold_weight
    if folds and (setting.linear or generator.latent_dim != generator.sample_shape[0]):
        return False
    try:
        estimator.build_for(generator)
    except ValueError:
        return False
    return True


def settle(estimator, case, setting: Setting, seed: int) -> None:
    """Brings an estimator to where training would have brought it."""
    generator = case.generator
    if isinstance(estimator, ImportanceSampling) and setting.linear:
        kernel = generator.decoder.layers[-1].kernel.numpy()
        squared = np.sum(kernel**2, axis=1) / float(generator.stddev) ** 2
        estimator.log_width.assign(-0.5 * np.log1p(squared))
    elif isinstance(estimator, ImportanceSampling):
        rate = keras.optimizers.schedules.CosineDecay(0.05, 500)
        _learn(estimator, generator, rate, 500, 256, seed)
    elif isinstance(estimator, MutualInformation):
        _learn(estimator, generator, 1e-3, 1000, 256, seed)
    elif isinstance(estimator, HamiltonianChains | LogVolume):
        prepare = tf.function(
            lambda draw, i: estimator.prepare(generator, draw, StepRandom(seed, i)),
            autograph=False,
        )
        for i in range(150):
            draw = _fresh(generator, 128, StepRandom(seed + 1, i))
            prepare(draw, tf.constant(i, tf.int64))


def _fresh(generator, count: int, random) -> Draw:
    latents = random.normal([count, generator.latent_dim], "latents")
    noise = random.normal([count, *generator.sample_shape], "noise")
    return Draw(generator.sample(latents, noise), latents, noise)


def _learn(estimator, generator, rate, steps: int, batch: int, seed: int) -> None:
    """Descends the estimator's own loss on the frozen generator."""
    optimizer = keras.optimizers.Adam(rate)
    optimizer.build(estimator.trainable_variables)
    weights = [v.value for v in estimator.trainable_variables]

    @tf.function(autograph=False)
    def step(iteration):
        random = StepRandom(seed, iteration)
        draw = _fresh(generator, batch, random)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            loss = estimator.loss(generator, draw, random)
        descend(tape, loss, estimator.trainable_variables, optimizer)

    for i in range(steps):
        step(tf.constant(i, tf.int64))


def chunk_gradients(estimator, generator, count: int, seed: int, rows: int = 256):
    """The entropy gradient of every chunk of `rows` samples, `(chunks, weights)`."""
    size = generator.sample_shape[0]
    draws = entropy_truth.mirrored_draws(generator.latent_dim, size, count, seed)

    @tf.function(autograph=False)
    def gradient(latents, noise, iteration):
        random = StepRandom(seed, iteration)
        held = Draw(generator.sample(latents, noise), latents, noise)
        prepared = estimator.prepare(generator, held, random)
        with tf.GradientTape() as tape:
            draw = Draw(generator.sample(latents, noise), latents, noise)
            value = estimator.estimate(generator, draw, prepared).surrogate
        return entropy_truth.flat_gradient(tape, value, generator)

    found = []
    for index, start in enumerate(range(0, 2 * count - rows + 1, rows)):
        # Mirror images apart: estimators that pair neighbours take them for
        # independent, and those two share their latent.
        order = start + np.r_[0:rows:2, 1:rows:2]
        part = [tf.constant(values[order]) for values in draws]
        found.append(gradient(*part, tf.constant(index, tf.int64)).numpy())
    return np.stack(found).astype(np.float64), rows


def measure(estimator, case, setting: Setting, seed: int) -> dict:
    """Recovery, cosine and noise of one estimator on one generator."""
    if estimator is None:
        return {"passes": 0, "recovery": 0.0, "cosine": 0.0, "noise": 0.0}
    settle(estimator, case, setting, seed)
    chunks, rows = chunk_gradients(estimator, case.generator, setting.draws, seed)
    mean = chunks.mean(axis=0)
    variance = np.sum(np.var(chunks, axis=0, ddof=1)) if len(chunks) > 1 else 0.0
    # An estimate of nothing has no direction.
    found = np.linalg.norm(mean) > 1e-9 * math.sqrt(case.power)
    return {
        "passes": passes(estimator, case.generator.latent_dim),
        "recovery": float(mean @ case.gradient / case.power),
        "cosine": entropy_truth.cosine(mean, case.gradient) if found else 0.0,
        "noise": float(variance * rows / entropy_report.NOISE_BATCH / case.power),
    }


def run_case(setting: Setting, seeds: int, wanted: set | None = None) -> dict:
    """All estimators on one generator, for seeds 0, 1, ..."""
    truths, results = [], {}
    for seed in range(seeds):
        case = setting.make(seed)
        truths.append(
            {
                "split_half_cosine": case.split_half_cosine,
                "attainable_cosine": case.attainable_cosine,
                **case.facts,
            }
        )
        for name, build in ESTIMATORS.items():
            keras.utils.set_random_seed(seed)
            estimator = build()
            if (wanted is None or name in wanted) and serves(estimator, case, setting):
                row = measure(estimator, case, setting, seed)
                results.setdefault(name, []).append(row)
    return {"draws": 2 * setting.draws, "truth": truths, "estimators": results}


@dataclasses.dataclass(frozen=True)
class RecoverySettings:
    """Flags of the benchmark."""

    seeds: int = options.setting(3, "Seeds 0, 1, ... of generators and draws.")
    draws: int = options.setting(4096, "Mirrored draws; half for D=784.")
    training_steps: int = options.setting(1500, "Of the trained generators.")
    cases: tuple = options.setting((), "Generators to run; default all.")
    output: str = options.setting("", "Folder for entropy_recovery.json, .md and .png.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(RecoverySettings)
    tf.get_logger().setLevel("ERROR")
    results = {"machine": machine(), "cases": {}}
    for name, setting in cases(settings.draws, settings.training_steps).items():
        if settings.cases and not any(part in name for part in settings.cases):
            continue
        start = time.monotonic()
        results["cases"][name] = run_case(setting, settings.seeds)
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    text = entropy_report.table(results)
    print(text)
    if settings.output:
        folder = Path(settings.output)
        json_files.write_json(folder / "entropy_recovery.json", results)
        (folder / "entropy_recovery.md").write_text(text, "utf-8")
        plots.save(entropy_report.draw(results), folder / "entropy_recovery.png")


if __name__ == "__main__":
    options.define_flags(RecoverySettings)
    running.run_program(main)
