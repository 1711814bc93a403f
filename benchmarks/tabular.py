r"""Ten labels a class on six tables: VERA beside other uses of the unlabelled rows.

Splits and labelled rows are those of a plain protocol: of `default_rng(seed)`'s
permutation the first 7/10 of the rows train, the next tenth validates, the rest
tests; the first ten rows of each class keep their label. All methods share network,
optimizer, steps and batches, those of `--preset=tabular`, and the effort of tuning:
the transform of the columns and the number of steps (every 100 up to 2,400).

- *chosen*: both by accuracy on the validation tenth, whose labels are used for that;
- *fixed*: quantile transform, 2,400 steps, no validation label.

Of `vera+shares` the classes are answered as common as they are found among the rows to
come, while ten labels a class say nothing of that (`estimators.ClassShares`): *chosen*,
which has validation labels, counts them there, and *fixed* estimates them of unlabelled
rows, with the transform that the labelled rows choose left one out.

Self-training is four rounds of a fresh supervised network, 600 steps each, on the
labels that the one before gives with a probability of .9 or more; its round counts as
steps do. scikit-learn's classifiers choose their own settings likewise, see
`benchmarks.scikit_tables`.
Of *fixed* VERA the decision is calibrated on the validation rows, which that run has
not looked at, exported, and its false alarms counted on the test rows. The preset was
chosen on seeds 10 and 11 by validation accuracy. One file a run: what is there already
is not repeated. From the top of the checkout, for `NAME.csv.gz` in a folder:

    python -m benchmarks.tabular --data_dir=DIR --output=benchmarks/results/tabular

and `--table` prints the tables. `--sets` are other tables of the folder, such as those
that `benchmarks.keel` writes.
"""

import dataclasses
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import balanced_accuracy_score

from benchmarks import scikit_tables
from benchmarks.machine import machine
from keras_ebm import data, ood, serving
from keras_ebm.data.batches import training_batches
from keras_ebm.estimators.class_shares import ClassShares
from keras_ebm.estimators.few_labels import choose_transform, shares_of
from keras_ebm.layers import TableEncoder
from keras_ebm.trainers import presets
from keras_ebm.trainers.program import json_files, options, running
from keras_ebm.trainers.settings.chains import ChainSettings, build_langevin
from keras_ebm.trainers.settings.optimizers import compile_model
from keras_ebm.trainers.settings.unlabelled import CHAIN_METHODS, VERA_METHODS
from keras_ebm.trainers.settings.vera import ModelSettings, build_model

SETS = (
    "letter",
    "magic_gamma",
    "page_blocks",
    "segment",
    "spambase",
    "waveform5000",
)
METHODS = {
    "vera": "VERA-JEM",
    "vera+shares": "VERA-JEM, shares of classes",
    "supervised": "supervised",
    "gradient_penalty": "gradient penalty alone",
    "vat": "virtual adversarial (VAT)",
    "self_training": "self-training, 4 rounds",
    "entropy": "entropy minimisation",
    "pseudo_label": "pseudo-labels",
    "vera+vat": "VERA-JEM and VAT",
    "chains": "chain-JEM, 20 steps",
    "svm": "SVM, RBF (scikit-learn)",
    "boosting": "boosted trees (scikit-learn)",
    "label_spreading": "label spreading (scikit-learn)",
}
TRANSFORMS = ("quantile", "standardise")
LABELS_PER_CLASS = 10
STEPS, EVERY = presets.TABULAR["steps"], 100
#: Steps that Keras runs before it looks at the logs, to save time.
STEPS_A_CALL = 20
ROUNDS, CONFIDENT = 4, 0.9
RATE = 0.05


@dataclasses.dataclass(frozen=True)
class Rows:
    """A table and the rows of it that train, validate and test."""

    dataset: data.Dataset
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def of(self, part: str):
        rows = getattr(self, part)
        return self.dataset.x[rows], self.dataset.y[rows]

    def few_labels(self) -> np.ndarray:
        return data.mask_labels(self.of("train")[1], LABELS_PER_CLASS)


def load(path, seed: int) -> Rows:
    """The rows of a csv by the protocol of the module."""
    dataset = data.load(f"csv:{path}")
    count = len(dataset.x)
    order = np.random.default_rng(seed).permutation(count)
    end = 7 * count // 10
    return Rows(dataset, *np.split(order, [end, end + count // 10]))


class Watch(keras.callbacks.Callback):
    """Logits of validation and test rows after each epoch, of averaged weights."""

    def __init__(self, rows: Rows):
        super().__init__()
        self.inputs = [tf.constant(rows.of(part)[0]) for part in ("validation", "test")]
        self.logits = []

    def on_train_begin(self, logs=None):
        model = self.model
        self.run = tf.function(model.logits, reduce_retracing=True, autograph=False)

    def on_epoch_end(self, epoch, logs=None):
        variables = self.model.network.trainable_variables
        averages = self.model.optimizer._model_variables_moving_average
        weights = [variable.numpy() for variable in variables]
        for variable, average in zip(variables, averages, strict=True):
            variable.assign(average)
        self.logits.append([self.run(x).numpy() for x in self.inputs])
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)


def settings_of(method: str, transform: str):
    """`(settings, build)` of a method."""
    if method in CHAIN_METHODS:
        preset = {**presets.TABULAR_CHAINS, **CHAIN_METHODS[method]}
        kind, build = ChainSettings, build_langevin
    else:
        name = {"self_training": "supervised", "vera+shares": "vera"}.get(
            method, method
        )
        preset = {**presets.TABULAR, **VERA_METHODS[name]}
        kind, build = ModelSettings, build_model
    return presets.with_preset(preset, kind, transform=transform), build


def fit(rows: Rows, labels, method: str, transform: str, seed: int, steps: int):
    """`(model, logits)`: of every 100 steps, on validation and test rows."""
    settings, build = settings_of(method, transform)
    x, _ = rows.of("train")
    model = build(rows.dataset, x, settings, seed)
    compile_model(model, settings, 1, steps)
    model.steps_per_execution = STEPS_A_CALL
    batch = presets.TABULAR["batch_size"]
    batches, _ = training_batches(x, labels, batch_size=batch, seed=seed)
    watch = Watch(rows)
    model.fit(
        batches,
        steps_per_epoch=EVERY,
        epochs=steps // EVERY,
        shuffle=False,
        verbose=0,
        callbacks=[watch],
    )
    return model, watch.logits


def guesses_of(logits: list) -> list:
    """The classes of the largest logits, of each step and part."""
    return [[np.argmax(part, axis=-1) for part in step] for step in logits]


def with_shares(rows: Rows, labels, logits: list) -> list:
    """`guesses_of`, of classes as common as among the labelled validation rows."""
    labelled = shares_of(labels, rows.dataset.num_classes)
    truth = rows.of("validation")[1]
    offsets = [ClassShares.counted(step[0], truth, labelled).offsets for step in logits]
    moved = [
        [part + own for part in step] for step, own in zip(logits, offsets, strict=True)
    ]
    return guesses_of(moved)


def without_validation(rows: Rows, labels, model) -> np.ndarray:
    """Guesses on test rows, of classes as common as unlabelled rows say."""
    x, _ = rows.of("train")
    logits = np.concatenate(
        [model.logits(part) for part in np.array_split(x, len(x) // 2000 + 1)]
    )
    entries = np.asarray(model.preprocess(x))
    offsets = ClassShares.estimate(logits, entries, labels).offsets
    return np.argmax(model.logits(rows.of("test")[0]) + offsets, axis=-1)


def fit_rounds(rows: Rows, transform: str, seed: int):
    """`fit` of self-training: the guesses of all rounds, one after the other."""
    labels, guesses = rows.few_labels(), []
    known = labels >= 0
    x, _ = rows.of("train")
    for turn in range(ROUNDS):
        draw, steps = seed + 1000 * turn, STEPS // ROUNDS
        model, logits = fit(rows, labels, "self_training", transform, draw, steps)
        guesses += guesses_of(logits)
        probabilities = tf.nn.softmax(model.logits(x)).numpy()
        sure = probabilities.max(axis=-1) >= CONFIDENT
        guessed = np.where(sure, probabilities.argmax(axis=-1), -1)
        labels = np.where(known, labels, guessed)
    return model, guesses


def fit_scikit(rows: Rows, method: str, transform: str):
    """The guesses of a method at each of its settings, on validation and test rows."""
    x, _ = rows.of("train")
    encoder = TableEncoder(rows.dataset.schema, transform=transform)
    encoder.adapt(x)
    train, *others = (
        encoder(rows.of(part)[0]).numpy() for part in ("train", "validation", "test")
    )
    fits = scikit_tables.FITS[method](train, rows.few_labels())
    return [[predict(x) for x in others] for predict in fits]


def run_one(method: str, name: str, seed: int, settings) -> dict:
    """Trains with both transforms; accuracies as chosen and as fixed."""
    rows = load(Path(settings.data_dir) / f"{name}.csv.gz", seed)
    truths = [rows.of(part)[1] for part in ("validation", "test")]
    results, start, fixed = {}, time.monotonic(), None
    labels = rows.few_labels()
    for transform in TRANSFORMS:
        keras.backend.clear_session()
        if method in scikit_tables.FITS:
            guesses = fit_scikit(rows, method, transform)
        elif method == "self_training":
            model, guesses = fit_rounds(rows, transform, seed)
        else:
            model, logits = fit(rows, labels, method, transform, seed, STEPS)
            guesses = guesses_of(logits)
        if method == "vera+shares":
            guesses = with_shares(rows, labels, logits)
            own = choose_transform(rows.of("train")[0], labels, rows.dataset.schema)
            results["own_transform"] = own
            if transform == own:
                results["plain"] = accuracies(truths, *guesses_of(logits)[-1])
                test = without_validation(rows, labels, model)
                fixed = accuracies(truths, guesses[-1][0], test)
        results[transform] = [accuracies(truths, *both) for both in guesses]
        if transform == "quantile" and method == "vera":
            results["false_alarms"] = false_alarms(model, rows)
    everything = [step for transform in TRANSFORMS for step in results[transform]]
    chosen = max(everything, key=lambda step: step["validation"])
    fixed = fixed or results["quantile"][-1]
    return {
        "accuracy": {"chosen": chosen["test"], "fixed": fixed["test"]},
        "balanced": {"chosen": chosen["balanced"], "fixed": fixed["balanced"]},
        "seconds": time.monotonic() - start,
        **results,
    }


def accuracies(truths, validation, test) -> dict:
    """Of guesses on validation and test rows."""
    return {
        "validation": float(np.mean(validation == truths[0])),
        "test": float(np.mean(test == truths[1])),
        "balanced": float(balanced_accuracy_score(truths[1], test)),
    }


def false_alarms(model, rows: Rows) -> dict:
    """Share of test rows that the exported decision refuses, and its band."""
    calibration, test = rows.of("validation")[0], rows.of("test")[0]
    detector = ood.Detector.calibrate(model, calibration, target_fpr=RATE)
    with tempfile.TemporaryDirectory() as folder:
        path = serving.export_classifier(detector, Path(folder) / "model", test[:64])
        served = tf.saved_model.load(str(path)).signatures["serving_default"]
        columns = serving.inputs.split_columns(rows.dataset.schema, test)
        tensors = {key: tf.constant(value) for key, value in columns.items()}
        accept = served(**tensors)["accept"].numpy()
    low, high = ood.conformal_band(RATE, len(calibration), len(test))
    share = float(np.mean(~accept))
    return {"share": share, "band": [low, high], "inside": bool(low <= share <= high)}


def file_of(folder: Path, method: str, name: str, seed: int) -> Path:
    """Where one run's results are saved."""
    return folder / f"{method.replace('+', '_')}-{name}-{seed}.json"


def table(folder: Path, sets, seeds: int, measure: str, how: str) -> str:
    """Markdown of mean ± standard deviation in %, over seeds and, last, their means."""
    lines = [
        "| method | seeds | " + " | ".join(sets) + " | mean |",
        "|---|---|" + "---|" * (len(sets) + 1),
    ]
    for method, title in METHODS.items():
        values = np.full((len(sets), seeds), np.nan)
        for place, name in enumerate(sets):
            for seed in range(seeds):
                path = file_of(folder, method, name, seed)
                if path.is_file():
                    values[place, seed] = 100 * json_files.read_json(path)[measure][how]
        # Seeds of which every set is done, that the mean is of equal parts.
        values = values[:, ~np.isnan(values).any(axis=0)]
        if not values.size:
            continue
        cells = [f"{row.mean():.1f} ± {row.std():.1f}" for row in values]
        over = values.mean(axis=0)
        cells.append(f"**{over.mean():.1f}** ± {over.std():.1f}")
        lines.append(f"| {title} | {values.shape[1]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def alarms(folder: Path) -> str:
    """How many exported decisions are inside their conformal band."""
    found = [json_files.read_json(path) for path in sorted(folder.glob("vera-*.json"))]
    inside = [run["false_alarms"]["inside"] for run in found if "false_alarms" in run]
    return f"false alarms inside the 95 % band: {sum(inside)} of {len(inside)}"


@dataclasses.dataclass(frozen=True)
class TabularSettings:
    """Flags of the benchmark."""

    CHOICES = {"only": ("", *METHODS)}

    data_dir: str = options.setting("", "Folder of NAME.csv.gz.")
    output: str = options.setting("", "Folder to write to and to continue.")
    seeds: int = options.setting(5, "Seeds of each run.")
    only: str = options.setting("", "One method; default all.")
    sets: tuple = options.setting(SETS, "Tables, with commas between them.")
    table: bool = options.setting(False, "Only print the tables of --output.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(TabularSettings)
    folder = Path(options.require("output"))
    folder.mkdir(parents=True, exist_ok=True)
    methods = [settings.only] if settings.only else list(METHODS)
    for method in [] if settings.table else methods:
        for seed in range(settings.seeds):
            for name in settings.sets:
                path = file_of(folder, method, name, seed)
                if not path.is_file():
                    results = run_one(method, name, seed, settings)
                    json_files.write_json(path, {"machine": machine(), **results})
                    print(path.name, results["accuracy"], flush=True)
    for measure in ("accuracy", "balanced"):
        for how in ("chosen", "fixed"):
            print(f"\n{measure}, {how}\n")
            print(table(folder, settings.sets, settings.seeds, measure, how))
    print(f"\n{alarms(folder)}")


if __name__ == "__main__":
    options.define_flags(TabularSettings)
    running.run_program(main)
