"""Restoration of MNIST and of tables with gaps: energies beside what is free.

Pictures: 10 % salt and pepper, Gaussian noise of 0.3 and a hidden lower half of the
first 500 test images, in decibels; of the hidden half its own pixels count alone. One
energy serves all three, as does one autoencoder, trained on the three mixed in so much
processor time as a flag says; what the energy took is in the file. Weights of the
observation and ridges are chosen on validation rows, in the run.

Tables: six of UCI, 600 rows to fit to and 600 others to fill, with 10, 30 and 50 %
of the cells of both missing at random. Errors are root mean squares of the
hidden cells of the other rows in standard deviations; accuracies are those of a random
forest, trained on the filled rows, on the filled others.
Run from the top of the checkout:

    python -m benchmarks.restore --data_dir=DIR --tables=DIR_OF_CSV \
        --output=benchmarks/results/restore.json --picture=docs/restore.png

What is in the file already is not repeated.
"""

import dataclasses
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks.machine import machine
from keras_ebm import data, networks, plots
from keras_ebm.estimators import EnergyImputer
from keras_ebm.random import StepRandom
from keras_ebm.restore import choose_walk, hidden_entries, psnr, restore
from keras_ebm.trainers.program import json_files, options, running
from keras_ebm.trainers.program.options import Checked, integers, setting
from keras_ebm.trainers.restore import train_energy
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.restore import EnergySettings, parse_corruption, walks

CORRUPTIONS = ("salt:0.1", "gaussian:0.3", "lower_half")
#: Chains of each restoration: as many as were asked of the hidden half.
CHAINS = {"salt:0.1": 4, "gaussian:0.3": 8, "lower_half": 16}
#: Energies, with the numbers of steps to choose from, of a corruption or of others.
ENERGIES = {
    "denoising": (EnergySettings(), {"": ("10",)}),
    "chains": (
        EnergySettings(
            energy="chains", train_steps=400, learning_rate=1e-3, batch_size=64
        ),
        {"": ("5", "20", "60")},
    ),
}
WEIGHTS = (0.7, 1.0, 1.4)
TABLES = (
    "letter",
    "magic_gamma",
    "waveform5000",
    "spambase",
    "segment",
    "page_blocks",
)
SHARES = (0.3, 0.1, 0.5)
#: Rows of a table to fit to, and others to fill.
ROWS = 600
NAMES = {
    "corrupted": "as it is observed",
    "mean": "mean image (free)",
    "median": "median of 3x3 (free)",
    "knn5": "mean of 5 neighbours (free)",
    "knn30": "mean of 30 neighbours (free)",
    "ridge": "ridge (free)",
    "autoencoder": "denoising autoencoder (free)",
    "chains": "energy by chains",
    "denoising": "energy of levels of noise",
    "one_chain": "the same, one chain",
}


@dataclasses.dataclass(frozen=True)
class BenchmarkSettings(Checked):
    """Flags of the benchmark."""

    output: str = setting("", "JSON file to write and to continue.")
    data_dir: str = setting("", "Folder of prepared tensorflow-datasets, with MNIST.")
    tables: str = setting("", "Folder of the six NAME.csv.gz; empty leaves them out.")
    parts: tuple = setting(("images", "tables"), "Parts to run: images, tables.")
    methods: tuple = setting(
        ("denoising", "autoencoder", "chains"), "What is trained on images, in turn."
    )
    seeds: tuple = setting(("0",), "Seeds of energies and corruptions of images.")
    table_seeds: tuple = setting(("0",), "Seeds of rows and gaps of tables.")
    test_rows: int = setting(500, "Test images.", low=1)
    validation_rows: int = setting(30, "Validation images that choose.", low=1)
    autoencoder_seconds: float = setting(
        0.0,
        "Of the processor, to train the autoencoder in; 0: as long as the energy of "
        "levels of noise took.",
        low=0,
    )
    picture: str = setting("", "PNG file of ten restorations each; optional.")


class Pictures:
    """Rows of one seed, in [-1, 1], and what is observed of them."""

    def __init__(self, settings: BenchmarkSettings, seed: int):
        self.run = load(
            DataSettings(dataset="tfds:mnist", data_dir=settings.data_dir, seed=seed)
        )
        self.seed = seed
        self.train = self._rows("train", None)
        # The last ones, which an energy of the first 50,000 rows never saw.
        kept = np.sort(self.run.splits.validation)[-settings.validation_rows :]
        self.validation = self._scaled(self.run.dataset.x[kept])
        self.test = self._rows("test", settings.test_rows)

    def _rows(self, part, count):
        x, _ = self.run.rows(part)
        return self._scaled(x[:count])

    @staticmethod
    def _scaled(x):
        return np.asarray(x, np.float32) / 127.5 - 1.0

    def corruption(self, name: str):
        """The corruption of a name."""
        return parse_corruption(name, (28, 28, 1))

    def observed(self, name: str, part: str, number: int = 0) -> np.ndarray:
        """What is observed of a part's rows."""
        x = tf.constant(getattr(self, part))
        draws = StepRandom(self.seed, 1_000 + number)
        return self.corruption(name).corrupt(x, draws).numpy()

    def score(self, name: str, restored: np.ndarray, part: str = "test") -> float:
        """Mean PSNR in decibels over the rows."""
        x = getattr(self, part)
        hidden = hidden_entries(self.corruption(name), x)
        return float(psnr(x, np.clip(restored, -1, 1), where=hidden).mean())


def free_restorations(pictures: Pictures, name: str) -> dict:
    """Test rows as the free methods restore them, by method."""
    from scipy.ndimage import median_filter

    observed = pictures.observed(name, "test")
    noisy = pictures.observed(name, "train", 7)
    found = {"corrupted": observed}
    found["mean"] = np.repeat(pictures.train.mean(0)[None], len(observed), axis=0)
    if name != "lower_half":
        found["median"] = median_filter(observed, (1, 3, 3, 1))
    nearest = _nearest(pictures, name, observed)
    for count in (5, 30):
        found[f"knn{count}"] = np.stack(
            [pictures.train[rows[:count]].mean(axis=0) for rows in nearest]
        )
    found["ridge"] = _ridge(pictures, name, noisy, observed)
    return found


def _nearest(pictures, name, observed) -> np.ndarray:
    """The 30 training rows nearest to each, by what is observed, nearest first."""
    known = getattr(pictures.corruption(name), "known", np.ones((28, 28, 1), bool))
    known = known.ravel()
    rows = observed.reshape(len(observed), -1)[:, known]
    train = pictures.train.reshape(len(pictures.train), -1)[:, known]
    squared = (train**2).sum(axis=1) - 2.0 * rows @ train.T
    near = np.argpartition(squared, 30, axis=1)[:, :30]
    order = np.argsort(np.take_along_axis(squared, near, axis=1), axis=1)
    return np.take_along_axis(near, order, axis=1)


def _ridge(pictures, name, noisy, observed) -> np.ndarray:
    """Linear regression from what is observed, of the ridge that validation chose."""

    def with_one(x):
        return np.c_[x.reshape(len(x), -1), np.ones(len(x), np.float32)]

    a, b = with_one(noisy), pictures.train.reshape(len(noisy), -1)
    gram, cross = a.T @ a, a.T @ b
    validation = with_one(pictures.observed(name, "validation", 3))
    tried = []
    for ridge in (1e-3, 1e-2, 1e-1, 1.0):
        weights = np.linalg.solve(gram + ridge * len(a) * np.eye(len(gram)), cross)
        restored = (validation @ weights).reshape(pictures.validation.shape)
        tried.append((pictures.score(name, restored, "validation"), weights))
    weights = max(tried, key=lambda pair: pair[0])[1]
    return (with_one(observed) @ weights).reshape(observed.shape)


def train_autoencoder(pictures: Pictures, seconds: float) -> keras.Model:
    """A denoiser of all three corruptions, by squared error, in processor seconds."""
    keras.utils.set_random_seed(pictures.seed)
    denoiser = networks.convolutional_denoiser((28, 28, 1))
    # It is told which corruption it is, as the energy is.
    x, kind = keras.Input((28, 28, 1)), keras.Input((1,))
    shift = keras.layers.Add()([x, denoiser([x, kind])])
    model = keras.Model([x, kind], shift)
    optimizer = keras.optimizers.Adam(2e-3, use_ema=True, ema_momentum=0.99)
    model.compile(optimizer, "mse")
    random = np.random.default_rng(pictures.seed)
    begin, step = time.process_time(), 0
    while time.process_time() - begin < seconds:
        spent = (time.process_time() - begin) / seconds
        optimizer.learning_rate = 1e-3 * (1.0 + np.cos(np.pi * min(spent, 1.0)))
        name = CORRUPTIONS[step % len(CORRUPTIONS)]
        x = pictures.train[random.integers(0, len(pictures.train), 64)]
        draws = StepRandom(pictures.seed, 10_000 + step)
        observed = pictures.corruption(name).corrupt(tf.constant(x), draws)
        model.train_on_batch([observed, kind_of(name, len(x))], x)
        step += 1
    optimizer.finalize_variable_values(model.trainable_variables)
    return model


def kind_of(name: str, rows: int) -> np.ndarray:
    """Which corruption it is, as a number for each row."""
    return np.full((rows, 1), CORRUPTIONS.index(name) - 1.0, np.float32)


def run_images(settings: BenchmarkSettings, seed: int, found: dict, save) -> None:
    """Scores by corruption and method of one seed; `save` is called as they come."""
    keras.backend.clear_session()
    pictures = Pictures(settings, seed)
    for name in CORRUPTIONS:
        scores = found.setdefault(name, {})
        if "ridge" not in scores:
            for method, restored in free_restorations(pictures, name).items():
                scores[method] = pictures.score(name, restored)
            save()
    for method in settings.methods:
        if method in found[CORRUPTIONS[-1]]:
            continue
        if method == "autoencoder":
            _by_autoencoder(pictures, _equal_seconds(settings, found), found)
        else:
            shown = _by_energies(pictures, method, settings, found, save)
            if method == "denoising" and settings.picture:
                draw(shown, settings.picture)
        save()


def _equal_seconds(settings, found) -> float:
    """What the autoencoder has: as long as the energy took, or as a flag says."""
    took = found.get("seconds", {}).get("denoising", 0.0)
    seconds = settings.autoencoder_seconds or took
    if not seconds:
        raise ValueError(
            "`autoencoder_seconds` 0 needs the energy's time. Received: no denoising "
            "run of this seed; put denoising before autoencoder in --methods."
        )
    return seconds


def _by_energies(pictures, kind, settings, found, save) -> dict:
    """Restores all corruptions by one energy; returns pictures of each."""
    energy, steps = ENERGIES[kind]
    energy = dataclasses.replace(energy, seed=pictures.seed)
    begin = time.process_time()
    model = train_energy(pictures.run, energy)
    found.setdefault("seconds", {})[kind] = time.process_time() - begin
    shown = {}
    for name in CORRUPTIONS:
        shown[name] = _by_energy(pictures, name, model, energy, steps, found[name])
        save()
    return shown


def _steps(steps: dict, name: str) -> tuple[int, ...]:
    return integers("steps", steps.get(name, steps[""]))


def _by_energy(pictures, name, model, energy, steps, scores):
    """Restores test rows by the walk that validation rows choose."""
    corruption = pictures.corruption(name)
    tried = walks(model, corruption, energy, _steps(steps, name), WEIGHTS)
    chains = CHAINS[name]
    chosen = choose_walk(
        model,
        pictures.validation,
        corruption,
        tried,
        num_chains=chains,
        seed=100 + pictures.seed,
    )
    observed = pictures.observed(name, "test")
    begin = time.process_time()
    restored = restore(
        model,
        observed,
        corruption,
        chosen.walk,
        num_chains=chains,
        seed=pictures.seed,
    )
    kind = energy.energy
    scores[kind] = pictures.score(name, restored.mean)
    scores[f"{kind}_one_chain"] = pictures.score(name, restored.chains[0])
    scores[f"{kind}_walk"] = f"{chosen.walk}"
    scores[f"{kind}_tried"] = [float(score) for score in chosen.scores]
    scores[f"{kind}_seconds"] = time.process_time() - begin
    return {
        "observed": observed[:10],
        "restored": restored.mean[:10],
        "spread": restored.stddev[:10],
        "one chain": restored.chains[0][:10],
        "original": pictures.test[:10],
    }


def _by_autoencoder(pictures, seconds, found) -> None:
    model = train_autoencoder(pictures, seconds)
    found.setdefault("seconds", {})["autoencoder"] = seconds
    for name in CORRUPTIONS:
        observed = pictures.observed(name, "test")
        kinds = kind_of(name, len(observed))
        restored = np.asarray(model.predict([observed, kinds], verbose=0))
        known = getattr(pictures.corruption(name), "known", np.zeros(1, bool))
        restored = np.where(known, observed, restored)
        found[name]["autoencoder"] = pictures.score(name, restored)


def imputers(seed: int) -> dict[str, Callable]:
    """Functions that make the imputers, by name."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

    return {
        "energy": lambda: EnergyImputer(random_state=seed),
        "iterative": lambda: IterativeImputer(random_state=seed),
        "knn": KNNImputer,
        "mean": SimpleImputer,
    }


def run_table(path: Path, share: float, seed: int) -> dict:
    """Errors, accuracies and seconds of the imputers on one table, by name."""
    x, y = _standardised(path, seed)
    random = np.random.default_rng([seed, 1])
    hidden = random.random(x.shape) < share
    gaps = np.where(hidden, np.nan, x)
    found, filled = {}, {}
    for name, make in imputers(seed).items():
        begin = time.process_time()
        imputer = make().fit(gaps[:ROWS])
        filled[name] = imputer.transform(gaps)
        found[name] = {"seconds": time.process_time() - begin}
        if name == "energy":
            found[name]["ratio_weight"] = imputer.ratio_weight_
            found[name]["components"] = len(imputer.mixture_.weights)
            # The same without what a network learnt.
            rows = (gaps - imputer.center_) / imputer.scale_
            mean = imputer.mixture_.mean(rows) * imputer.scale_ + imputer.center_
            filled["mixture"], found["mixture"] = mean, {}
    filled["nothing hidden"], found["nothing hidden"] = x, {}
    for name, rows in filled.items():
        off = (rows - x)[ROWS:][hidden[ROWS:]]
        found[name]["error"] = float(np.sqrt(np.mean(np.square(off))))
        found[name]["accuracy"] = _accuracy(rows, y, seed)
    return found


def _standardised(path: Path, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Twice so many rows of a table, in standard deviations of the first, and labels.

    Columns that do not vary are left out.
    """
    rows = data.load(f"csv:{path}")
    order = np.random.default_rng(seed).permutation(rows.num_rows)[: 2 * ROWS]
    x, y = np.asarray(rows.x, np.float64)[order], rows.y[order]
    spread = x[:ROWS].std(axis=0)
    x = x[:, spread > 0]
    return (x - x[:ROWS].mean(axis=0)) / spread[spread > 0], y


def _accuracy(x, y, seed) -> float:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(50, random_state=seed).fit(x[:ROWS], y[:ROWS])
    return float(forest.score(x[ROWS:], y[ROWS:]))


def image_table(saved: dict) -> str:
    """Markdown of the pictures' part, means over seeds."""
    names = " | ".join(CORRUPTIONS)
    lines = [f"| method | {names} |", "|---|" + "---|" * len(CORRUPTIONS)]
    runs = list(saved.values())
    for key, words in NAMES.items():
        key = "denoising_one_chain" if key == "one_chain" else key
        cells = []
        for corruption in CORRUPTIONS:
            values = [run.get(corruption, {}).get(key) for run in runs]
            values = [value for value in values if value is not None]
            cells.append(f"{np.mean(values):.2f}" if values else "")
        if any(cells):
            lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def table_of_tables(saved: dict) -> str:
    """Markdown of the tables' part: error and accuracy of each imputer."""
    methods = ("energy", "mixture", "iterative", "knn", "mean", "nothing hidden")
    head = " | ".join(methods)
    lines = [f"| table | missing | {head} |", "|---|---|" + "---|" * len(methods)]
    for name, shares in saved.items():
        for share, by_seed in sorted(shares.items()):
            cells = []
            for method in methods:
                runs = [run[method] for run in by_seed.values()]
                error = np.mean([run["error"] for run in runs])
                accuracy = 100 * np.mean([run["accuracy"] for run in runs])
                cells.append(f"{error:.3f} ({accuracy:.1f})")
            lines.append(f"| {name} | {share} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(shown: dict, path: str) -> None:
    """Writes the picture: ten test rows of each corruption."""
    panels = {}
    for name, images in shown.items():
        for kind in ("observed", "restored", "spread", "original"):
            panels[f"{name} {kind}"] = images[kind]
    plots.save(plots.draw_restorations(panels), path)


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(BenchmarkSettings)
    output = options.require("output")
    saved: dict = {"machine": machine(), "images": {}, "tables": {}}
    if os.path.exists(output):
        saved = json_files.read_json(output)

    def save():
        json_files.write_json(output, saved)

    if "images" in settings.parts:
        for seed in integers("`seeds`", settings.seeds):
            found = saved["images"].setdefault(str(seed), {})
            done = found.get(CORRUPTIONS[-1], {})
            if not all(method in done for method in settings.methods):
                run_images(settings, seed, found, save)
    if "tables" in settings.parts and settings.tables:
        for seed in integers("`table_seeds`", settings.table_seeds):
            for share in SHARES:
                for name in TABLES:
                    runs = saved["tables"].setdefault(name, {})
                    runs = runs.setdefault(str(share), {})
                    if str(seed) not in runs:
                        path = Path(settings.tables) / f"{name}.csv.gz"
                        with warnings.catch_warnings():
                            warnings.simplefilter("ignore")  # Of steps that ran out.
                            runs[str(seed)] = run_table(path, share, seed)
                        save()
    print(image_table(saved["images"]))
    print(table_of_tables(saved["tables"]))


if __name__ == "__main__":
    options.define_flags(BenchmarkSettings)
    running.run_program(main)
