"""Classes one after another, without rehearsal: energies beside what is free.

Split MNIST in five tasks of two classes, by 60,000 rows and seed; the same with the
classes in permuted orders; UCI letter, 26 classes in thirteen tasks, whose columns are
standardised by the first task; and chains without the mean of their weights. Settings
were chosen on validation rows of seeds 100 and 101.
Run from the top of the checkout, where the rows are:

    python -m benchmarks.continual --data_dir=DIR --letter=letter.csv.gz \
        --output=benchmarks/results/continual.json --picture=docs/continual.png

What is in the file already is not repeated.
"""

import dataclasses
import os

import keras
import numpy as np

from benchmarks.machine import machine
from keras_ebm import plots
from keras_ebm.trainers.continual import StreamSettings, learn_stream
from keras_ebm.trainers.program import json_files, options, running
from keras_ebm.trainers.program.options import Checked, integers, setting
from keras_ebm.trainers.settings.continual import LEARNERS, LearnerSettings

#: Other settings than the program's, by part.
PARTS = {
    "mnist": {},
    "orders": {},
    "letter": {},
    # The weights after a class's last update, in place of their mean.
    "last_weights": {"average_from": 0.999},
}
#: What each learner is, for the table.
NAMES = {
    "density": "mixture x log-ratio by noise contrast",
    "mixture": "mixture of 30 Gaussians a class",
    "gaussian": "one Gaussian a class",
    "gaussian_chains": "chains on a Gaussian a class",
    "chains": "chains, a network a class",
    "shared_chains": "chains, one network of x and y",
    "ridge": "ridge on 4,000 random features",
    "lda": "streaming LDA",
    "nearest_mean": "nearest class mean",
    "softmax": "softmax, fine-tuned",
}


@dataclasses.dataclass(frozen=True)
class BenchmarkSettings(Checked):
    """Flags of the benchmark."""

    output: str = setting("", "JSON file to write and to continue.")
    data_dir: str = setting("", "Folder of prepared tensorflow-datasets, with MNIST.")
    letter: str = setting("", "csv of UCI letter; empty leaves that part out.")
    parts: tuple = setting(
        tuple(PARTS), "Parts to run: mnist, orders, letter, last_weights."
    )
    methods: tuple = setting(tuple(LEARNERS), "Learners to run.")
    seeds: tuple = setting(("0", "1", "2", "3", "4"), "Seeds, or of orders which.")
    rows: int = setting(0, "Training rows of a run; 0: all.", low=0)
    picture: str = setting("", "PNG file of accuracy after each task; optional.")


def stream_of(part: str, seed: int, settings: BenchmarkSettings) -> StreamSettings:
    """The stream of a part and a seed."""
    if part == "letter":
        return StreamSettings(dataset=f"csv:{settings.letter}", rows=settings.rows)
    order: tuple = ()
    if part == "orders":
        found = np.random.default_rng(seed).permutation(10)
        order = tuple(str(label) for label in found)
    return StreamSettings(
        dataset="tfds:mnist",
        data_dir=settings.data_dir,
        order=order,
        rows=settings.rows,
    )


def run_one(part: str, seed: int, methods, settings: BenchmarkSettings) -> dict:
    """Results by method, with the tasks and the rows they are of."""
    keras.backend.clear_session()
    stream = stream_of(part, seed, settings)
    learner = LearnerSettings(methods=tuple(methods), seed=seed, **PARTS[part])
    found = learn_stream(stream, learner)
    shared = {name: found[name] for name in ("tasks", "rows", "test_rows")}
    return {name: {**values, **shared} for name, values in found["methods"].items()}


def table(part: dict) -> str:
    """Markdown of a part: means and standard deviations over seeds."""
    lines = [
        "| learner | accuracy, % | after task 1 | kB a class | s a class | seeds |",
        "|---|---|---|---|---|---|",
    ]
    by_method: dict[str, list] = {}
    for run in part.values():
        for name, values in run.items():
            by_method.setdefault(name, []).append(values)
    finals = {
        name: np.array([100 * run["final"] for run in runs])
        for name, runs in by_method.items()
    }
    for name in sorted(finals, key=lambda name: -finals[name].mean()):
        runs = by_method[name]
        first = 100 * np.mean([run["seen"][0] for run in runs])
        size = np.mean([run["bytes_per_class"] for run in runs]) / 1e3
        seconds = np.mean([run["seconds_per_class"] for run in runs])
        lines.append(
            f"| {NAMES[name]} | {finals[name].mean():.1f} ± {finals[name].std():.1f} | "
            f"{first:.1f} | {size:,.0f} | {seconds:.2f} | {len(runs)} |"
        )
    return "\n".join(lines)


def draw(part: dict, path: str) -> None:
    """Writes the picture of a part: a line a learner, a band over its seeds."""
    seen: dict[str, list] = {}
    for run in part.values():
        for name, values in run.items():
            seen.setdefault(NAMES[name], []).append(values["seen"])
            tasks = [" ".join(task) for task in values["tasks"]]
    plots.save(plots.draw_streams(seen, tasks), path)


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(BenchmarkSettings)
    output = options.require("output")
    saved = {"machine": machine(), "parts": {}}
    if os.path.exists(output):
        saved = json_files.read_json(output)
    for seed in integers("`seeds`", settings.seeds):
        for part in settings.parts:
            if part == "letter" and not settings.letter:
                continue
            runs = saved["parts"].setdefault(part, {}).setdefault(str(seed), {})
            wanted = ("chains",) if part == "last_weights" else settings.methods
            missing = [name for name in wanted if name not in runs]
            if missing:
                runs |= run_one(part, seed, missing, settings)
                json_files.write_json(output, saved)
    for part, runs in saved["parts"].items():
        print(f"\n{part}\n{table(runs)}")
    if settings.picture and saved["parts"].get("mnist"):
        draw(saved["parts"]["mnist"], settings.picture)


if __name__ == "__main__":
    options.define_flags(BenchmarkSettings)
    running.run_program(main)
