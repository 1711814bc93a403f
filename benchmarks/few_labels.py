r"""Ten labels a class: labels spread over a graph first, and when to stop.

Each run trains 2,400 steps by `--preset=tabular`, on a table of `benchmarks.tabular`
split as there, with the transform that the labelled rows choose left one out, and looks
every 100 steps at accuracy on the test rows, of averaged weights, and at the agreements
of `callbacks.AgreementWatch` on unlabelled rows. `+spread` are the same with
`pseudo_labels` by label spreading. So one run says what stopping by either agreement
would have had (`within .05`: the last look whose averages agree within .05 of the most,
which is `--stop_without_labels=agreement`), what the last step has, and what the best
step had, which nobody can know without labels. Of the last step there is the accuracy
with the shares of the classes counted on the validation tenth too. From the top of the
checkout:

    python -m benchmarks.few_labels --data_dir=DIR --first_seed=10 --seeds=1 \
        --output=benchmarks/results/few_labels

That seed and those tables are what settings were chosen on. `--sets` are others, such
as those that `benchmarks.keel` writes, in `results/few_labels_keel`. One file a run:
what is there already is not repeated, and `--table` prints.
"""

import dataclasses
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks import tabular
from benchmarks.machine import machine
from keras_ebm.callbacks import AgreementWatch
from keras_ebm.callbacks.agreement_watch import TOLERANCES, averaged
from keras_ebm.data.batches import training_batches
from keras_ebm.estimators import PseudoLabels
from keras_ebm.estimators.few_labels import choose_transform, evenly
from keras_ebm.trainers import presets
from keras_ebm.trainers.program import json_files, options, running
from keras_ebm.trainers.settings.optimizers import compile_model

METHODS = ("supervised", "supervised+spread", "vera", "vera+spread")
#: Unlabelled rows of which the agreements are.
WATCHED_ROWS = 2_000
TOLERANCE = TOLERANCES["agreement"]


class Curves(keras.callbacks.Callback):
    """Accuracy on test rows of averaged weights, and agreements, after each epoch."""

    def __init__(self, unlabelled, test):
        super().__init__()
        self.watch, self.test, self.curves = AgreementWatch(unlabelled), test, []

    def set_model(self, model):
        super().set_model(model)
        self.watch.set_model(model)

    def on_epoch_end(self, epoch, logs=None):
        x, y = self.test
        with averaged(self.model):
            guesses = np.argmax(self.model.logits(tf.constant(x)), axis=1)
        accuracy = float(np.mean(guesses == y))
        self.curves.append({"accuracy": accuracy, **self.watch.agreements()})


def run_one(method: str, name: str, seed: int, settings) -> dict:
    """Trains once; curves over the steps."""
    rows = tabular.load(Path(settings.data_dir) / f"{name}.csv.gz", seed)
    start, (x, y), labels = time.monotonic(), rows.of("train"), rows.few_labels()
    base, _, spread = method.partition("+")
    transform = choose_transform(x, labels, rows.dataset.schema)
    keras.backend.clear_session()
    own, build = tabular.settings_of(base, transform)
    model = build(rows.dataset, x, own, seed)
    found = {"transform": transform}
    guessed = None
    if spread:
        labelling = PseudoLabels.spread(np.asarray(model.preprocess(x)), labels)
        guessed = labelling.labels
        right = guessed[labels < 0] == y[labels < 0]
        found["spread"] = {
            "accuracy": float(np.mean(right)),
            "alpha": labelling.alpha,
            "left_out": labelling.accuracy,
            "kernel_left_out": labelling.kernel_accuracy,
            "seconds": time.monotonic() - start,
        }
    compile_model(model, own, 1, tabular.STEPS)
    model.steps_per_execution = tabular.STEPS_A_CALL
    batch = presets.TABULAR["batch_size"]
    batches, _ = training_batches(
        x,
        labels,
        batch_size=batch,
        seed=seed,
        guessed=guessed,
        guessed_weight=settings.weight,
    )
    unlabelled = x[labels < 0]
    taken = unlabelled[evenly(len(unlabelled), WATCHED_ROWS)]
    curves = Curves(taken, rows.of("test"))
    model.fit(
        batches,
        steps_per_epoch=tabular.EVERY,
        epochs=tabular.STEPS // tabular.EVERY,
        shuffle=False,
        verbose=0,
        callbacks=[curves],
    )
    return {
        **found,
        "curves": curves.curves,
        "last": last(model, rows, labels),
        "seconds": time.monotonic() - start,
    }


def last(model, rows, labels) -> dict:
    """Test accuracies after the last step, as labelled and with counted shares."""
    parts = ("validation", "test")
    logits = [model.logits(tf.constant(rows.of(part)[0])).numpy() for part in parts]
    truths = [rows.of(part)[1] for part in parts]
    guesses = (
        tabular.guesses_of([logits])[0],
        tabular.with_shares(rows, labels, [logits])[0],
    )
    names = ("as labelled", "counted")
    return {
        name: tabular.accuracies(truths, *own)
        for name, own in zip(names, guesses, strict=True)
    }


def at(run: dict, how: str) -> float:
    """The accuracy of a run stopped so."""
    curves = run["curves"]
    steps = {
        "1,200 steps": curves[len(curves) // 2 - 1],
        "2,400 steps": curves[-1],
        "best": max(curves, key=lambda step: step["accuracy"]),
        "within .05": [
            step
            for step in curves
            if step["average_agreement"]
            >= max(own["average_agreement"] for own in curves) - TOLERANCE
        ][-1],
        **{
            log: max(curves, key=lambda step: step[log])
            for log in ("average_agreement", "neighbour_agreement")
        },
    }
    return steps[how]["accuracy"]


STOPS = (
    "1,200 steps",
    "2,400 steps",
    "average_agreement",
    "within .05",
    "neighbour_agreement",
    "best",
)


def table(folder: Path, sets, seeds) -> str:
    """Markdown of mean ± standard deviation in %, over seeds and, last, their means."""
    lines = [
        "| method | stopped by | " + " | ".join(sets) + " | mean |",
        "|---|---|" + "---|" * (len(sets) + 1),
    ]
    for method in METHODS:
        paths = [[tabular.file_of(folder, method, n, s) for s in seeds] for n in sets]
        if not all(path.is_file() for row in paths for path in row):
            continue
        runs = [[json_files.read_json(path) for path in row] for row in paths]
        titles = [(how, lambda run, how=how: at(run, how)) for how in STOPS]
        if all("last" in run for row in runs for run in row):
            titles.append(("2,400 steps, counted shares", _counted))
        if "spread" in runs[0][0]:
            titles.append(("spread alone", lambda run: run["spread"]["accuracy"]))
        for title, read in titles:
            values = 100 * np.array([[read(run) for run in row] for row in runs])
            cells = [f"{row.mean():.1f} ± {row.std():.1f}" for row in values]
            over = values.mean(axis=0)
            cells.append(f"**{over.mean():.1f}** ± {over.std():.1f}")
            lines.append(f"| {method} | {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _counted(run: dict) -> float:
    return run["last"]["counted"]["test"]


@dataclasses.dataclass(frozen=True)
class FewLabelsSettings:
    """Flags of the benchmark."""

    CHOICES = {"only": ("", *METHODS)}

    data_dir: str = options.setting("", "Folder of NAME.csv.gz.")
    output: str = options.setting("", "Folder to write to and to continue.")
    first_seed: int = options.setting(0, "First seed; 10 to choose.")
    seeds: int = options.setting(2, "Seeds of each run.")
    only: str = options.setting("", "One method; default all.")
    sets: tuple = options.setting(tabular.SETS, "Tables, with commas between them.")
    weight: float = options.setting(1.0, "Weight of spread labels.")
    table: bool = options.setting(False, "Only print the table of --output.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(FewLabelsSettings)
    folder = Path(options.require("output"))
    folder.mkdir(parents=True, exist_ok=True)
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    methods = [settings.only] if settings.only else METHODS
    for seed in [] if settings.table else seeds:
        for name in settings.sets:
            for method in methods:
                path = tabular.file_of(folder, method, name, seed)
                if not path.is_file():
                    results = run_one(method, name, seed, settings)
                    json_files.write_json(path, {"machine": machine(), **results})
                    told = [f"{at(results, how):.3f}" for how in STOPS]
                    print(path.name, *told, results.get("spread", ""), flush=True)
    print(table(folder, settings.sets, seeds))


if __name__ == "__main__":
    options.define_flags(FewLabelsSettings)
    running.run_program(main)
