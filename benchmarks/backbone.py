r"""A head on the features of a frozen body, and energies in feature space, on CIFAR-10.

Features are computed once for each set of images. The heads of every method are then
trained on the same ones; with three seeds, of the split and of the weights, there are
accuracy, calibration, false alarms of the decision at 5 %, the seconds of training, and
the AUROC of scores against CIFAR-100, MNIST and uniform noise. From the top of the
checkout:

    python -m benchmarks.backbone --backbone=efficientnet_lite0.keras --data_dir=DIR \
        --cache=features --output=benchmarks/results/backbone.json

What is in the file already is not repeated; `--table` prints the tables.
"""

import dataclasses
import functools
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks.machine import machine
from keras_ebm import data, metrics, ood
from keras_ebm.networks import body_features
from keras_ebm.serving import export_classifier
from keras_ebm.trainers.adopt import HEAD
from keras_ebm.trainers.program import json_files, options, running
from keras_ebm.trainers.run import bodies, transforms
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.negatives import bank_of
from keras_ebm.trainers.settings.starting import build_body
from keras_ebm.trainers.settings.vera import ModelSettings, build_model
from keras_ebm.trainers.vera import FitSettings

DATASET = "tfds:cifar10"
FOREIGN = ("tfds:cifar100", "tfds:mnist", "noise:uniform")
#: Test images that the export is asked.
SERVED = 320
#: Rows of each at most.
FOREIGN_ROWS = 5000
#: What each method passes beside `trainers.adopt`'s own settings.
METHODS = {
    "plain head": {},
    "plain head, mirrored images too": {"mirrored_views": True},
    "column shuffle": {"negatives": "shuffle"},
    "scrambled images": {"negatives": "bank", "bank": "phase_scramble"},
    "column shuffle and scrambled images": {
        "negatives": "shuffle",
        "bank": "phase_scramble",
    },
    "cut and blend": {"negatives": "batch"},
    "jitter": {"negatives": "jitter"},
    "mixture": {"negatives": "mixture"},
    "generator": {"negatives": "generator"},
}
SCORES = (
    "energy",
    "max_softmax",
    "max_logit",
    "knn",
    "mahalanobis",
    "relative_mahalanobis",
    "class_gaussian",
    "energy+knn",
    "energy+class_gaussian",
)


def split_settings(settings_class, values: dict):
    """The settings of a class out of those of a program."""
    names = {field.name for field in dataclasses.fields(settings_class)}
    return settings_class(**{k: v for k, v in values.items() if k in names})


def run_one(method: str, seed: int, settings) -> dict:
    """Trains one head and measures it on features."""
    run = load(DataSettings(dataset=DATASET, data_dir=settings.data_dir, seed=seed))
    values = {**HEAD, **METHODS[method], "backbone": settings.backbone}
    model_settings = split_settings(ModelSettings, values)
    body = build_body(model_settings, run.dataset)
    cache = Path(settings.cache)
    seen = bodies.of_features(run, body, cache)
    if model_settings.mirrored_views:
        seen = bodies.with_mirrored(seen, run, body, cache)
    with tempfile.TemporaryDirectory() as folder:
        fit = split_settings(FitSettings, {**values, "workdir": folder, "verbose": 0})
        start = time.process_time(), time.perf_counter()
        build = build_model
        images = bank_of(run, model_settings)
        if images is not None:
            bank = body_features(body, images, cache=cache)
            build = functools.partial(build_model, bank=bank)
        job = transforms.prepare(seen, model_settings, fit, build)
        model, measures = job.perform()
        seconds = time.process_time() - start[0], time.perf_counter() - start[1]
    x, _ = run.rows("test")
    known = dataclasses.replace(run.dataset, x=x, y=run.rows("test")[1], num_test=0)
    detector = ood.Detector.calibrate(
        model, seen.rows("calibration")[0], target_fpr=0.05
    )
    foreign = {}
    for spec in FOREIGN:
        images = data.foreign(spec, known, seed=0, data_dir=settings.data_dir)
        foreign[spec] = body_features(body, images[:FOREIGN_ROWS], cache=cache)
    return {
        **measures,
        "validation_accuracy": transforms.validation_accuracy(model, seen),
        "cpu_seconds": seconds[0],
        "seconds": seconds[1],
        "rows": len(seen.rows("train")[0]),
        "false_alarms": float(
            np.mean(~detector.predict(seen.rows("test")[0])["accept"])
        ),
        "auroc": aurocs(model, seen, foreign),
    }


def served(settings) -> dict:
    """Exports one plain head with its body: megabytes, and how far the paths differ."""
    run = load(DataSettings(dataset=DATASET, data_dir=settings.data_dir, seed=0))
    values = {**HEAD, "backbone": settings.backbone}
    model_settings = split_settings(ModelSettings, values)
    body = build_body(model_settings, run.dataset)
    seen = bodies.of_features(run, body, Path(settings.cache))
    with tempfile.TemporaryDirectory() as folder:
        fit = split_settings(FitSettings, {**values, "workdir": folder, "verbose": 0})
        job = transforms.prepare(seen, model_settings, fit, build_model)
        model = job.train()
        cached = ood.Detector.calibrate(
            model, seen.rows("calibration")[0], target_fpr=0.05
        )
        # The threshold of the cached features serves the whole model too.
        detector = ood.Detector(
            model.behind(body), cached.score, cached.conformal, cached.target_fpr
        )
        images, rows = run.rows("test")[0][:SERVED], seen.rows("test")[0][:SERVED]
        path = export_classifier(detector, f"{folder}/net", images[:32])
        megabytes = sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) / 1e6
        signature = tf.saved_model.load(str(path)).signatures["serving_default"]
        answers = [
            signature(inputs=tf.constant(images[i : i + 32]))
            for i in range(0, SERVED, 32)
        ]
        expected = cached.predict(rows)
        found = {
            name: np.concatenate([answer[name] for answer in answers])
            for name in ("energy", "probabilities", "class_id", "accept")
        }
        logits = detector.model.logits(images[:32]) - model.logits(rows[:32])
    return {
        "megabytes": megabytes,
        "largest_difference_of_logits": float(np.abs(logits).max()),
        "largest_difference_of_energies": float(
            np.abs(found["energy"] - expected["energy"]).max()
        ),
        "same_class": float(np.mean(found["class_id"] == expected["class_id"])),
        "same_decision": float(np.mean(found["accept"] == expected["accept"])),
    }


def aurocs(model, seen, foreign: dict) -> dict:
    """AUROC of every score against every foreign set."""
    parts = {
        name: ood.network_outputs(model, *seen.rows(name), requires=("features",))
        for name in ("train", "validation", "test")
    }
    others = {
        spec: ood.network_outputs(model, rows, requires=("features",))
        for spec, rows in foreign.items()
    }
    found = {}
    for name in SCORES:
        score = ood.make_score(name)
        if score.fitted_names:
            score.fit(parts["train"], parts["validation"])
        known = score.predict(parts["test"])
        found[name] = {
            spec: metrics.auroc(known, score.predict(rows))
            for spec, rows in others.items()
        }
    return found


def tables(runs: dict) -> str:
    """Markdown: what each method reaches, and the scores of the plain head."""
    lines = [
        "| head | seeds | accuracy, % | ECE, % | false alarms at 5 %, % | "
        "energy: CIFAR-100 | "
        "MNIST | noise | CPU seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method in METHODS:
        own = [run for key, run in runs.items() if _method_of(key) == method]
        if not own:
            continue
        cells = [[100 * run[name] for run in own] for name in ("accuracy", "ece")]
        cells.append([100 * run["false_alarms"] for run in own])
        cells += [
            [100 * run["auroc"]["energy"][spec] for run in own] for spec in FOREIGN
        ]
        cells.append([run["cpu_seconds"] for run in own])
        lines.append(
            f"| {method} | {len(own)} | " + " | ".join(map(_spread, cells)) + " |"
        )
    plain = [run for key, run in runs.items() if _method_of(key) == "plain head"]
    lines += ["", "| score of the plain head | CIFAR-100 | MNIST | noise |"]
    lines.append("|---|---|---|---|")
    for name in SCORES:
        cells = [[100 * run["auroc"][name][spec] for run in plain] for spec in FOREIGN]
        lines.append(f"| {name} | " + " | ".join(map(_spread, cells)) + " |")
    return "\n".join(lines)


def _method_of(key: str) -> str:
    return key.rpartition(", ")[0]


def _spread(values) -> str:
    spread = f" ± {np.std(values):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


@dataclasses.dataclass(frozen=True)
class BackboneSettings:
    """Flags of the benchmark."""

    backbone: str = options.setting("", "The body, a .keras file.")
    data_dir: str = options.setting("", "Folder of prepared tensorflow-datasets.")
    cache: str = options.setting("features", "Folder that keeps features.")
    seeds: int = options.setting(3, "Seeds 0, 1, ... of each method.")
    methods: str = options.setting("", "Methods to run, with semicolons; default all.")
    output: str = options.setting("", "JSON file to write and to continue.")
    table: bool = options.setting(False, "Only print the tables of --output.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(BackboneSettings)
    output = Path(options.require("output"))
    saved = {"machine": machine(), "runs": {}}
    if output.exists():
        saved = json_files.read_json(output)
    if not settings.table:
        chosen = settings.methods.split(";") if settings.methods else METHODS
        for seed in range(settings.seeds):
            for method in chosen:
                key = f"{method}, {seed}"
                if key in saved["runs"]:
                    continue
                saved["runs"][key] = run_one(method, seed, settings)
                json_files.write_json(output, saved)
                print(key, saved["runs"][key], flush=True)
        if "served" not in saved:
            saved["served"] = served(settings)
            json_files.write_json(output, saved)
    print(tables(saved["runs"]))
    print(saved.get("served"))


if __name__ == "__main__":
    options.define_flags(BackboneSettings)
    running.run_program(main)
