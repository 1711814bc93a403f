"""What is left of classifiers under attack: an energy that refines, and what is free.

MNIST, 20,000 training rows, the same small strided network with pixels from 0 to 1; by
seed a plain classifier, one trained with noise of 0.3, one trained on attacked rows,
and an energy trained by chains on such noisy rows, plain and with a walk of each class.
Attacks of the refined one cost 100 times as much, so it is measured on fewer rows.
Settings were chosen on validation rows of seed 100.
Run from the top of the checkout:

    python -m benchmarks.robustness --data_dir=DIR --models=FOLDER \
        --output=benchmarks/results/robustness.json --picture=docs/robust.png

What is in the file already is not repeated, and models in their folder are not trained.
"""

import dataclasses
import os
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks.machine import machine
from keras_ebm import EnergyModel, LangevinModel, files, networks, plots
from keras_ebm.negatives import LangevinMoves, MarkovChains, ReplayBuffer
from keras_ebm.ood import Detector
from keras_ebm.robust import Adversarial
from keras_ebm.trainers.attack import attack, refusals, target_of
from keras_ebm.trainers.program import json_files, options, running
from keras_ebm.trainers.program.options import Checked, integers, setting
from keras_ebm.trainers.settings.attack import AttackSettings
from keras_ebm.trainers.settings.data import DataSettings, load

BOX = (0.0, 1.0)
#: Passes through the training rows.
EPOCHS = {"plain": 3, "noise": 3, "adversarial": 3, "chains": 4}
#: What each row of the table is.
NAMES = {
    "plain": "plain classifier",
    "noise": "noise 0.3 in training",
    "adversarial": "adversarial training, 0.1",
    "chains": "chains with classes, noise 0.3",
    "refined": "the same, ten Langevin steps a class",
    "noise_refined": "such steps of the classifier with noise",
}
_FREE = {"attack": ("pgd", "margin", "square", "transfer"), "queries": 200}
_REFINE = {"refine_steps": 10, "refine_radius": 0.1, "refine_step_size": 10.0}
#: Attacks by part: L-infinity and L2 of plain answers, and of refined ones, where the
#: last are what an attack may cost.
PARTS = {
    "linf": AttackSettings(bounds=("0", "0.1", "0.2", "0.3"), **_FREE),
    "l2": AttackSettings(norm="l2", bounds=("1", "2"), **_FREE),
    "refined": AttackSettings(
        bounds=("0", "0.1"),
        attack=("transfer", "bpda", "pgd", "margin", "square"),
        queries=60,
        target_fpr=0.0,
        rows_at_a_time=50,
        **_REFINE,
    ),
    "refined_more": AttackSettings(
        bounds=("0.2", "0.3"),
        attack=("transfer", "bpda"),
        target_fpr=0.0,
        rows_at_a_time=50,
        **_REFINE,
    ),
    "noise_refined": AttackSettings(
        bounds=("0", "0.1"),
        attack=("transfer", "bpda", "margin"),
        target_fpr=0.0,
        rows_at_a_time=50,
        **_REFINE,
    ),
    # Whether more draws or more steps find more.
    "refined_check": AttackSettings(
        bounds=("0.1",),
        attack=("eot",),
        num_steps=10,
        eot=4,
        target_fpr=0.0,
        rows_at_a_time=50,
        **_REFINE,
    ),
    "refined_long": AttackSettings(
        bounds=("0.1",),
        attack=("bpda",),
        num_steps=100,
        step_size=0.01,
        target_fpr=0.0,
        rows_at_a_time=50,
        **_REFINE,
    ),
}
#: Parts that the table is of.
SHOWN = ("linf", "l2", "refined", "refined_more", "noise_refined")


@dataclasses.dataclass(frozen=True)
class BenchmarkSettings(Checked):
    """Flags of the benchmark."""

    output: str = setting("", "JSON file to write and to continue.")
    data_dir: str = setting("", "Folder of prepared tensorflow-datasets, with MNIST.")
    models: str = setting("", "Folder that trained models are kept in.")
    seeds: tuple = setting(("0", "1", "2"), "Seeds.")
    kinds: tuple = setting(tuple(NAMES), "Rows of the table to measure.")
    rows: int = setting(500, "Test rows of plain answers.", low=1)
    refined_rows: int = setting(40, "Test rows of refined answers.", low=1)
    picture: str = setting("", "PNG file of accuracy by bound; optional.")


def build(kind: str, seed: int):
    """The uncompiled model of a row of the table."""
    keras.utils.set_random_seed(seed)
    network = networks.strided_energy((28, 28, 1), 10)
    common = {"preprocessor": keras.layers.Rescaling(1 / 255), "seed": seed}
    if kind == "chains":
        moves = LangevinMoves(10, 10.0, 0.005, max_gradient=0.03, box=BOX)
        buffer = ReplayBuffer((28, 28, 1), 5_000, store_labels=True)
        chains = MarkovChains(
            moves, buffer, start="uniform", start_range=BOX, restart_share=0.05
        )
        return LangevinModel(
            network,
            chains,
            conditional=True,
            classification_weight=1.0,
            energy_l2=0.3,
            data_stddev=0.3,
            **common,
        )
    attacked = Adversarial(0.1, box=BOX, num_steps=3)
    return EnergyModel(
        network,
        data_stddev=0.3 if kind == "noise" else 0.0,
        adversarial=attacked if kind == "adversarial" else None,
        **common,
    )


def trained(kind: str, seed: int, run, settings: BenchmarkSettings):
    """`(model, seconds)`; None of a model that was there."""
    path = Path(settings.models) / f"{kind}-{seed}.keras"
    if path.exists():
        return keras.saving.load_model(path), None
    x, y = run.rows("train")
    model = build(kind, seed)
    model.compile(keras.optimizers.Adam(5e-4 if kind == "chains" else 1e-3))
    begin = time.process_time()
    model.fit(x, y, epochs=EPOCHS[kind], batch_size=64, verbose=0)
    files.make_folder(path.parent)
    files.save_model(model, path)
    return model, time.process_time() - begin


def parts_of(kind: str) -> list[str]:
    """Parts that a row of the table has."""
    if kind == "noise_refined":
        return [kind]
    refined = kind == "refined"
    others = [part for part in PARTS if part != "noise_refined"]
    return [part for part in others if part.startswith("refined") == refined]


def measure(kind: str, seed: int, run, settings: BenchmarkSettings, found: dict):
    """Adds accuracies and refusals of a row of the table to `found`, by part."""
    refined = kind.endswith("refined")
    trained_as = {"refined": "chains", "noise_refined": "noise"}.get(kind, kind)
    model, seconds = trained(trained_as, seed, run, settings)
    count = settings.refined_rows if refined else settings.rows
    x, y = run.rows("test")
    x, y = model.preprocess(tf.constant(x[:count])), y[:count]
    found |= {"rows": count, "train_seconds": seconds or found.get("train_seconds")}
    for part in parts_of(kind):
        if part in found:
            continue
        own = dataclasses.replace(PARTS[part], seed=seed)
        target = target_of(model, own)
        begin = time.process_time()
        result = attack(target, x, y, own)
        found[part] = {
            "accuracy": by_text(result["accuracy"]),
            "masking": result["masking"],
            "seconds": time.process_time() - begin,
        }
        if part == "linf":
            known = Detector.calibrate(
                model, run.rows("calibration")[0], target_fpr=own.target_fpr
            )
            attacked = {0.1: result["attacked"][0.1]}
            refused = refusals(target, known, attacked, x, y, own)
            found["refusals"] = refused[0.1]


def by_text(accuracy: dict) -> dict:
    """Bounds as JSON has them."""
    return {
        name: {f"{bound:g}": value for bound, value in values.items()}
        for name, values in accuracy.items()
    }


def strongest(runs: dict, kind: str) -> dict[str, list]:
    """By bound, what is left in each seed under the strongest of all attacks."""
    found: dict[str, list] = {}
    for run in runs.values():
        for part, values in run.get(kind, {}).items():
            if part not in SHOWN:
                continue
            mark = "l2 " if part == "l2" else ""
            for bound, value in values["accuracy"]["strongest"].items():
                found.setdefault(mark + bound, []).append(100 * value)
    return found


def table(runs: dict) -> str:
    """Markdown: means and standard deviations over seeds, %."""
    bounds = ("0", "0.1", "0.2", "0.3", "l2 1", "l2 2")
    lines = [
        f"| classifier | {' | '.join(bounds)} | rows | seeds |",
        "|---" * (len(bounds) + 3) + "|",
    ]
    for kind, name in NAMES.items():
        found = strongest(runs, kind)
        if not found:
            continue
        cells = [cell(found.get(bound, [])) for bound in bounds]
        rows = next(run[kind]["rows"] for run in runs.values() if run.get(kind))
        seeds = len(found["0"])
        lines.append(f"| {name} | {' | '.join(cells)} | {rows} | {seeds} |")
    return "\n".join(lines)


def cell(values: list) -> str:
    """Mean, and over several seeds the standard deviation."""
    if len(values) < 2:
        return "".join(f"{value:.1f}" for value in values)
    return f"{np.mean(values):.1f} ± {np.std(values):.1f}"


def refusal_table(runs: dict) -> str:
    """Markdown: what a detector at 5 % false alarms does at 0.1, means over seeds."""
    lines = [
        "| classifier | wrong | of these refused | wrong and accepted | and by attacks "
        "that know the detector |",
        "|---|---|---|---|---|",
    ]
    for kind, name in NAMES.items():
        found = [run.get(kind, {}).get("refusals") for run in runs.values()]
        found = [entry for entry in found if entry]
        if not found:
            continue
        cells = [
            f"{100 * np.mean([entry[key] or 0.0 for entry in found]):.1f}"
            for key in ("wrong", "refused", "unaware", "aware")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(runs: dict, path: str) -> None:
    """Writes the picture: a line a row of the table."""
    curves = {}
    for kind, name in NAMES.items():
        found = strongest(runs, kind)
        means = {
            float(bound): float(np.mean(values)) / 100
            for bound, values in found.items()
            if not bound.startswith("l2")
        }
        if means:
            curves[name] = means
    plots.save(plots.draw_robustness(curves, "L-infinity bound, pixels 0 to 1"), path)


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(BenchmarkSettings)
    output = options.require("output")
    options.require("models")
    saved = {"machine": machine(), "runs": {}}
    if os.path.exists(output):
        saved = json_files.read_json(output)
    for seed in integers("`seeds`", settings.seeds):
        runs = saved["runs"].setdefault(str(seed), {})
        missing = [
            kind
            for kind in settings.kinds
            if set(parts_of(kind)) - set(runs.setdefault(kind, {}))
        ]
        data = DataSettings(
            dataset="tfds:mnist",
            data_dir=settings.data_dir,
            train_size=20_000,
            seed=seed,
        )
        run = load(data) if missing else None
        for kind in missing:
            keras.backend.clear_session()
            measure(kind, seed, run, settings, runs[kind])
            json_files.write_json(output, saved)
            print(seed, kind, runs[kind], flush=True)
    print(f"\n{table(saved['runs'])}\n\n{refusal_table(saved['runs'])}")
    if settings.picture:
        draw(saved["runs"], settings.picture)


if __name__ == "__main__":
    options.define_flags(BenchmarkSettings)
    running.run_program(main)
