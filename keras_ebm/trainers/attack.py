r"""Attacks a run's classifier on its test rows, and says what is left.

Run it as:

    keras-ebm attack --model=runs/digits/model.keras --bounds=0,.05,.1 \
        --output=runs/attacked
    keras-ebm attack --model=runs/chains/model.keras --refine_steps=10 \
        --attack=pgd,margin,bpda,square,transfer --rows=100 --output=runs/attacked
    keras-ebm attack --preset=igebm_robust --dry_run

`strongest` counts a row as right if it is right under every attack. Whether the attacks
can be believed is checked: a larger bound must be stronger, and no attack that asks for
answers alone, or goes by another model, stronger than those by gradients.
"""

import dataclasses
import functools
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_ebm import files, plots
from keras_ebm.arguments import listed
from keras_ebm.models.base import check_float_input
from keras_ebm.ood import Detector
from keras_ebm.random import StepRandom
from keras_ebm.robust import (
    Evasion,
    answer,
    masking_failures,
    pgd,
    square_attack,
    transfer,
)
from keras_ebm.rows import take
from keras_ebm.trainers.presets import LANGEVIN_PRESETS, with_preset
from keras_ebm.trainers.program import (
    errors,
    folders,
    json_files,
    keras_files,
    options,
    running,
)
from keras_ebm.trainers.program.imports import ImportSettings
from keras_ebm.trainers.run import record
from keras_ebm.trainers.run.dry_run import synthetic
from keras_ebm.trainers.settings import clashes
from keras_ebm.trainers.settings.attack import (
    ATTACKS,
    OF_REFINEMENT,
    PRESETS,
    AttackSettings,
    build_refined,
)
from keras_ebm.trainers.settings.chains import ChainSettings, build_langevin
from keras_ebm.trainers.settings.data import DataSettings

RESULTS, PICTURE = "results.json", "picture.png"
#: Attacks that go by gradients of the model itself.
WHITE = ("pgd", "margin", "eot", "bpda")


@dataclasses.dataclass(frozen=True)
class Target:
    """A classifier as attacks see it.

    Attributes:
        model: `EnergyModel` with classes.
        unit: float, preprocessed units that a bound of 1 is.
        box: `(low, high)` of preprocessed inputs, or None.
        refined: `Refined` or None.
        surrogate: callable from preprocessed inputs to logits, that transfer attacks.
    """

    model: Any
    unit: float
    box: tuple[float, float] | None
    refined: Any
    surrogate: Callable

    @property
    def logits_fn(self) -> Callable:
        """What answers."""
        return self.refined or plain_logits(self.model)

    def logits(self, x: tf.Tensor, seed: int, size: int) -> np.ndarray:
        """Answers to preprocessed inputs, drawn anew, `(rows, K)`."""
        starts = range(0, len(x), size)
        parts = [
            self._ask(x[i : i + size], tf.constant([seed, i], tf.int64)) for i in starts
        ]
        return np.concatenate(parts)

    @functools.cached_property
    def _ask(self) -> Callable:
        fn = self.logits_fn
        if self.refined is not None:
            # The same answers, without what gradients need.
            fn = self.refined.with_gradient("identity")

        def ask(x, numbers):
            return answer(fn, x, StepRandom(numbers[0], 1).fold(numbers[1]))

        rows = tf.TensorSpec([None, *self.model.network.input_shape[1:]])
        numbers = tf.TensorSpec([2], tf.int64)
        return tf.function(ask, input_signature=(rows, numbers), autograph=False)


def plain_logits(model) -> Callable:
    """Logits of preprocessed inputs, without refinement."""
    return lambda x: tf.cast(model.network(x, training=False), tf.float32)


def target_of(model, settings: AttackSettings) -> Target:
    """The target of the settings.

    Raises:
        ValueError: if the model has no classes or takes no floats, or attacks do not go
            with the settings.
    """
    if model.num_classes < 2:
        raise ValueError(
            f"`model` must have classes. Received: model={settings.model}, without."
        )
    check_float_input(model.network, f"model={settings.model}")
    image = len(model.network.input_shape) == 4
    box = plots.pixel_range(model) if image else None
    unit = box[1] - box[0] if box else 1.0
    refined = build_refined(model, settings, unit, box)
    asked = [name for name in settings.attack if name in OF_REFINEMENT]
    if asked and refined is None:
        raise ValueError(
            f"`attack` {asked[0]} needs a refinement. Received: refine_steps=0; give "
            "--refine_steps, or leave it out."
        )
    other = model
    if settings.surrogate:
        other = keras_files.load_model(settings.surrogate, "surrogate")
        if other.network.input_shape != model.network.input_shape:
            raise ValueError(
                "`surrogate` must take what the model takes, inputs of shape "
                f"{model.network.input_shape[1:]}. Received: one of "
                f"{other.network.input_shape[1:]}."
            )
    return Target(model, unit, box, refined, plain_logits(other))


def find(name: str, target: Target, x, y, bound: float, settings, evade=None):
    """`Attacked` of an attack by its name; `bound` in the units of settings."""
    random = StepRandom(settings.seed, 0)
    size = {"rows_at_a_time": settings.rows_at_a_time, "random": random}
    common = {
        "bound": bound * target.unit,
        "norm": settings.norm,
        "box": target.box,
        **size,
    }
    step = settings.step_size * target.unit or None
    steps = {
        "num_steps": settings.num_steps,
        "step_size": step,
        "restarts": settings.restarts,
    }
    fn = target.logits_fn
    if name == "square":
        return square_attack(fn, x, y, num_queries=settings.queries, **common)
    if name == "transfer":
        return transfer(target.surrogate, fn, x, y, **common, **steps)
    if name == "bpda":
        fn = target.refined.with_gradient("identity")
    more = {
        "loss": "margin" if name == "margin" else "cross_entropy",
        "eot": settings.eot if name == "eot" else 1,
    }
    return pgd(fn, x, y, evade=evade, **common, **steps, **more)


def attack(target: Target, x, y, settings: AttackSettings) -> dict:
    """Attacks rows at every bound.

    Args:
        target: `Target`.
        x: preprocessed rows `(n, ...)`.
        y: `(n,)` labels.
        settings: `AttackSettings`.

    Returns:
        Dict: `accuracy`, by attack and bound, with `strongest` of all together;
        `attacked`, by bound `(inputs, right)`: of each row that an attack turned, what
        the first of these made of it; `masking`, sentences.
    """
    names = list(settings.attack)
    alone: dict[str, dict[float, float]] = {name: {} for name in names}
    strongest, found_by_bound = {}, {}
    size = settings.rows_at_a_time
    for bound in bounds_of(settings):
        right = target.logits(x, settings.seed, size).argmax(1) == y
        inputs = np.array(x)
        for name in names if bound else ():
            found = find(name, target, x, y, bound, settings)
            held = target.logits(found.x, settings.seed, size).argmax(1) == y
            alone[name][bound] = float(np.mean(held))
            turned = right & ~held
            inputs[turned] = found.x.numpy()[turned]
            right = right & held
        strongest[bound] = float(np.mean(right))
        found_by_bound[bound] = (inputs, right)
    return {
        "accuracy": {**alone, "strongest": strongest},
        "attacked": found_by_bound,
        "masking": masking(alone, strongest),
    }


def masking(alone: dict, strongest: dict) -> list[str]:
    """Sentences about attacks that do not behave; see `masking_failures`."""
    clean = strongest.get(0.0)
    white: dict[float, float] = {} if clean is None else {0.0: clean}
    for name in WHITE:
        for bound, value in alone.get(name, {}).items():
            white[bound] = min(value, white.get(bound, 1.0))
    found = []
    for name in ("square", "transfer"):
        for failure in masking_failures(white, black=alone.get(name)):
            text = failure.replace("the black box", name)
            found += [text] if text not in found else []
    return found


def refusals(target: Target, detector: Detector, attacked: dict, x, y, settings):
    """What a detector by the energy does to attacked rows.

    Args:
        target: `Target`.
        detector: `Detector` by the energy.
        attacked: by bound `(inputs, right)` of attacks that do not know it.
        x: preprocessed rows.
        y: `(n,)` labels.
        settings: `AttackSettings`.

    Returns:
        Dict by bound: `refused`, share of the wrong inputs that attacks found without
        knowing of it; `wrong_and_accepted`, share of all rows, of these attacks
        (`unaware`) and of one that goes round it (`aware`).
    """
    threshold = detector.conformal.threshold(detector.target_fpr)
    score = tf.function(target.model.inputs_energy)
    result = {}
    for bound, (inputs, right) in attacked.items():
        accepted = score(tf.constant(inputs)).numpy() <= threshold
        wrong = ~right
        turned = wrong & accepted
        entry = {
            "wrong": float(wrong.mean()),
            "refused": float(1 - accepted[wrong].mean()) if wrong.any() else None,
            "unaware": float(turned.mean()),
        }
        for weight in options.numbers_of("`evade_weights`", settings.evade_weights):
            if not bound:
                continue
            evade = Evasion(target.model.inputs_energy, threshold, weight)
            found = find("margin", target, x, y, bound, settings, evade)
            logits = target.logits(found.x, settings.seed, settings.rows_at_a_time)
            passed = score(found.x).numpy() <= threshold
            turned = turned | ((logits.argmax(1) != y) & passed)
        entry["aware"] = float(turned.mean())
        result[bound] = entry
    return result


def bounds_of(settings) -> list[float]:
    """The bounds, in ascending order."""
    found = sorted(options.numbers_of("`bounds`", settings.bounds))
    if not found or found[0] < 0:
        raise ValueError(
            "`bounds` must be numbers of at least 0, with commas between them. "
            f"Received: bounds={listed(settings.bounds)}."
        )
    return found


def check_attacks(settings) -> None:
    """Raises ValueError for an attack that there is not."""
    unknown = [name for name in settings.attack if name not in ATTACKS]
    if unknown or not settings.attack:
        raise ValueError(
            f"`attack` must be some of {listed(ATTACKS)}. Received: "
            f"attack={listed(settings.attack)}."
        )
    bounds_of(settings)
    options.numbers_of("`evade_weights`", settings.evade_weights)


def measure(settings: AttackSettings) -> dict:
    """Loads a run, attacks its test rows, and counts refusals.

    Args:
        settings: `AttackSettings`.

    Returns:
        Dict: `rows`, `norm`, `accuracy` by attack and bound, `masking`, and `refusals`
        by bound; what is written.

    Raises:
        ValueError: if the model, the run or the settings do not go together.
    """
    check_attacks(settings)
    model = keras_files.load_model(settings.model)
    target = target_of(model, settings)
    run = record.recall(settings.model, data_dir=settings.data_dir)
    x, y = run.rows("test")
    kept = np.flatnonzero(y >= 0)[: settings.rows]
    x, y = model.preprocess(take(x, kept)), y[kept]
    detector = None
    if settings.target_fpr:
        detector = Detector.calibrate(
            model,
            run.rows("calibration")[0],
            score="energy",
            target_fpr=settings.target_fpr,
        )
    begin = time.perf_counter()
    found = attack(target, x, y, settings)
    results = {
        "rows": len(y),
        "norm": settings.norm,
        "accuracy": found["accuracy"],
        "masking": found["masking"],
    }
    if detector is not None:
        results["refusals"] = refusals(
            target, detector, found["attacked"], x, y, settings
        )
    results["seconds"] = time.perf_counter() - begin
    return results


def dry_run(settings: AttackSettings) -> dict:
    """One step of ascent on one row, as `bpda` takes it where there is a refinement.

    A gradient through all steps takes the memory of as many passes of each class.

    Returns:
        Dict: `parameters`; `network_passes`, passes of the network for one answer of
        one row, each but the last of a class with its gradient; `seconds` of the
        step, with what is built at first.
    """
    check_attacks(settings)
    if settings.model:
        model = keras_files.load_model(settings.model)
    else:
        recipe = LANGEVIN_PRESETS["igebm_cifar10_conditional"]
        run = synthetic(with_preset(recipe, DataSettings))
        chains = with_preset(recipe, ChainSettings, buffer_size=2)
        model = build_langevin(run.dataset, run.rows("train")[0], chains, settings.seed)
    target = target_of(model, settings)
    x = tf.fill([1, *model.network.input_shape[1:]], sum(target.box or (0.0, 0.0)) / 2)
    begin = time.perf_counter()
    few = dataclasses.replace(settings, num_steps=1, restarts=1)
    name = "bpda" if target.refined else "pgd"
    found = find(name, target, x, np.zeros(1, np.int64), 0.01, few)
    if not np.all(np.isfinite(found.x)):
        raise ValueError("The attacked row is not finite.")
    classes = model.num_classes if target.refined else 1
    return {
        "parameters": model.network.count_params(),
        "network_passes": classes * (settings.refine_steps + 1),
        "seconds": time.perf_counter() - begin,
    }


def write(results: dict, output: Path) -> None:
    """Writes `results.json` and `picture.png` into a folder."""
    files.make_folder(output)
    json_files.write_json(output / RESULTS, results)
    unit = f"bound ({results['norm']})"
    figure = plots.draw_robustness(results["accuracy"], unit)
    plots.save(figure, output / PICTURE)


def main(argv: list[str]) -> None:
    del argv
    options.apply_preset(PRESETS)
    settings = options.from_flags(AttackSettings)
    clashes.check(clashes.ATTACK)
    if settings.dry_run:
        with errors.usage_errors():
            result = dry_run(settings)
        for name, value in result.items():
            text = f"{value:.2f}" if isinstance(value, float) else f"{value:,}"
            print(f"{name:16s} {text}")
        return
    options.require("model")
    output = folders.require_folder("output")
    written = {name: str(output / name) for name in (RESULTS, PICTURE)}
    folders.check_apart(written, folders.files_of_run(settings.model))
    with errors.usage_errors():
        plots.pyplot()
        results = measure(settings)
    write(results, output)
    for failure in results["masking"]:
        warnings.warn(f"gradients may be masked: {failure}", stacklevel=1)
    strongest = results["accuracy"]["strongest"]
    figures = {f"right_at_{bound:g}": value for bound, value in strongest.items()}
    json_files.print_metrics({**figures, "output": str(output)})


def define(argv: list[str]) -> dict:
    """Defines the flags; returns the presets."""
    del argv
    for settings_class in (AttackSettings, ImportSettings):
        options.define_flags(settings_class)
    return PRESETS


if __name__ == "__main__":
    running.run_program(main, define)
