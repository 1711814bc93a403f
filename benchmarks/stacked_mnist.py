r"""Modes of stacked MNIST that a generator finds, by estimator of its entropy.

Three digits an image, a thousand modes; the same networks, optimizers and number
of steps for every method. A digit classifier reads 10,000 samples of the
generator, without its Gaussian noise. One file a run: what is there already is
not repeated, and several processes can share the work (`--methods`). Run from the
top of the checkout:

    python -m benchmarks.stacked_mnist --data_dir=DIR \
        --output=benchmarks/results/stacked_mnist

and print the table, and draw the samples, with `--table`.
"""

import dataclasses
import time
from pathlib import Path

import keras
import numpy as np

from benchmarks.digit_classifier import train_classifier
from benchmarks.machine import machine
from benchmarks.saved import read_saved
from keras_ebm import VERA, GaussianGenerator, data, metrics, networks, plots
from keras_ebm.data.batches import training_batches
from keras_ebm.entropy import ESTIMATORS
from keras_ebm.trainers.program import folders, json_files, options, running

DATASET = "stacked:mnist"
#: Rows made; the last sixth stacks digits of the test split.
NUM_ROWS = 72_000
NUM_SAMPLES = 10_000
NUM_SHOWN = 40
LATENT_DIM = 64
SHAPE = (28, 28, 3)
BATCH_SIZE = 32
#: Noise of the generator, held, and of the data, which it therefore does not tell
#: apart; the entropies then differ by the decoder alone. Images span [-1, 1].
STDDEV = 0.1
ENERGY_FILTERS = (16, 32)
DECODER_FILTERS = (64, 32)
#: Methods, with the weight of the entropy. Hardly tuned: log_volume's was tried on
#: seed 10, importance has the same, as it estimates the same nats, and mutual
#: information had one trial, as its bound is in no nats.
METHODS = {
    "importance": 0.1,
    "log_volume": 0.1,
    "mutual_information": 10.0,
    "none": 0.0,
}
#: Real test images in the place of samples: what the classifier's errors cost.
REAL = "real images"


def build_model(method: str, entropy_weight: float, seed: int) -> VERA:
    """A density of stacked digits and its generator; no batch normalisation."""
    keras.utils.set_random_seed(seed)
    decoder = networks.convolutional_decoder(LATENT_DIM, SHAPE, filters=DECODER_FILTERS)
    return VERA(
        networks.convolutional_energy(SHAPE, filters=ENERGY_FILTERS),
        GaussianGenerator(decoder, STDDEV, (STDDEV, STDDEV)),
        entropy=ESTIMATORS[method]() if method in ESTIMATORS else None,
        entropy_weight=entropy_weight,
        preprocessor=keras.layers.Rescaling(1.0 / 127.5, offset=-1.0),
        objective="contrastive",
        gradient_penalty=0.1,
        data_stddev=STDDEV,
        seed=seed,
    )


def compile_model(model: VERA, settings) -> None:
    """Adam for both networks, decayed to 0 by a cosine."""

    def adam(rate, beta_1):
        schedule = keras.optimizers.schedules.CosineDecay(rate, settings.steps)
        return keras.optimizers.Adam(schedule, beta_1, 0.99, epsilon=1e-8)

    model.compile(
        optimizer=adam(settings.learning_rate, 0.5),
        generator_optimizer=adam(settings.generator_learning_rate, 0.5),
        posterior_optimizer=keras.optimizers.Adam(settings.posterior_learning_rate),
    )


def run_one(method: str, seed: int, settings, classifier):
    """Trains one model and counts the modes of its generator.

    Returns:
        `(measures, shown)`: a dict, and the first few samples as pixel values.
    """
    weight = METHODS[method]
    if settings.entropy_weight >= 0.0 and method != "none":
        weight = settings.entropy_weight
    stacked = data.load(
        DATASET, data_dir=settings.data_dir, num_rows=NUM_ROWS, seed=seed
    )
    x = stacked.x[: -stacked.num_test]
    batches, _ = training_batches(
        x, stacked.y[: len(x)], batch_size=BATCH_SIZE, seed=seed
    )
    model = build_model(method, weight, seed)
    compile_model(model, settings)
    start = time.monotonic()
    logs = model.fit(
        batches, steps_per_epoch=settings.steps, epochs=1, verbose=0, shuffle=False
    )
    seconds = time.monotonic() - start
    pixels = sample_pixels(model, NUM_SAMPLES)
    return {
        **measure(classifier, pixels),
        "entropy_weight": weight,
        "settings": dataclasses.asdict(settings),
        "train_seconds": seconds,
        "logs": {name: float(value[-1]) for name, value in logs.history.items()},
    }, pixels[:NUM_SHOWN]


def measure(classifier, pixels: np.ndarray) -> dict:
    """Modes, their divergence in nats, and how sure the classifier is of a digit.

    The classifier calls anything a digit: modes count for little where its mean
    largest probability is far below that on real images.
    """
    count = metrics.count_modes(classifier, pixels)
    # Every channel as an image of its own.
    grey = np.concatenate(list(np.moveaxis(pixels, -1, 0)))[..., None]
    logits = classifier.predict(grey.astype(np.float32), 500, verbose=0)
    confidence = keras.ops.softmax(logits).numpy().max(axis=-1).mean()
    return {
        "modes": count.num_modes,
        "kl": count.kl,
        "confidence": float(confidence),
    }


def sample_pixels(model: VERA, num_samples: int, batch_size: int = 500) -> np.ndarray:
    """Samples without the generator's noise, as pixel values."""
    samples = [
        metrics.to_pixels(model.sample(batch_size, seed=i, noise=False))
        for i in range(num_samples // batch_size)
    ]
    return np.concatenate(samples)


def measure_real(settings, classifier):
    """What as many real images get, read by the same classifier; as `run_one`."""
    stacked = data.load(
        DATASET, data_dir=settings.data_dir, num_rows=NUM_ROWS, seed=settings.first_seed
    )
    pixels = stacked.x[-stacked.num_test :][:NUM_SAMPLES]
    return measure(classifier, pixels), pixels[:NUM_SHOWN]


def file_of(folder: Path, method: str, seed: int) -> Path:
    """Where one run's measures are saved; its samples lie beside, as `.npz`."""
    return folder / f"{method.replace(' ', '_')}_-_{seed}.json"


def save_run(path: Path, results: dict, shown: np.ndarray) -> None:
    """Writes a run's samples and then its measures, which mark it as done."""
    np.savez_compressed(path.with_suffix(".npz"), shown=shown)
    json_files.write_json(path, {"machine": machine(), **results})
    print(path.name, results["modes"], results["kl"], flush=True)


def saved_runs(folder: Path, method: str, seeds) -> list[dict]:
    """Measures of the runs that are saved, in the order of their seeds."""
    paths = [file_of(folder, method, seed) for seed in seeds]
    return read_saved(paths)


def table(folder: Path, seeds) -> str:
    """A Markdown table: mean ± standard deviation over seeds, and the worst seed."""
    lines = [
        "KL in nats; fewest and largest are those of the worst seed.",
        "",
        "| method | entropy weight | seeds | modes | fewest | KL | largest "
        "| confidence | minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    modes, kl = metrics.perfect_sampler(NUM_SAMPLES)
    lines.append(f"| perfect sampler | | | {modes:.1f} | | {kl:.3f} | | | |")
    for method in (REAL, *METHODS):
        runs = saved_runs(folder, method, seeds)
        if runs:
            weight = runs[0].get("entropy_weight")
            lines.append(_row(method, "" if weight is None else f"{weight:g}", runs))
    return "\n".join(lines)


def _row(method: str, weight: str, runs: list[dict]) -> str:
    modes, kl = ([run[name] for run in runs] for name in ("modes", "kl"))
    confidence = np.mean([run["confidence"] for run in runs])
    minutes = np.mean([run.get("train_seconds", 0.0) for run in runs]) / 60.0
    return (
        f"| {method} | {weight} | {len(runs)} "
        f"| {np.mean(modes):.1f} ± {np.std(modes):.1f} | {min(modes):.0f} "
        f"| {np.mean(kl):.3f} ± {np.std(kl):.3f} | {max(kl):.3f} "
        f"| {confidence:.3f} | {minutes:.1f} |"
    )


def draw_samples(folder: Path, seed: int) -> None:
    """Draws samples of every method with one seed into `samples.png`."""
    paths = {name: file_of(folder, name, seed) for name in (REAL, *METHODS)}
    paths = {name: path for name, path in paths.items() if path.is_file()}
    figure, axes = plots.pyplot().subplots(
        len(paths),
        1,
        figsize=(8, 1.2 * len(paths)),
        layout="constrained",
        squeeze=False,
    )
    for axis, (name, path) in zip(axes[:, 0], paths.items(), strict=True):
        run = json_files.read_json(path)
        with np.load(path.with_suffix(".npz")) as arrays:
            images = arrays["shown"] / 127.5 - 1.0
        title = f"{name}: {run['modes']:.0f} modes, KL {run['kl']:.2f}"
        plots.draw_images(axis, images, NUM_SHOWN // 2, title)
    plots.save(figure, folder / "samples.png")


@dataclasses.dataclass(frozen=True)
class BenchmarkSettings:
    """Flags of the benchmark."""

    data_dir: str = options.setting("", "Folder of prepared tensorflow-datasets.")
    output: str = options.setting("", "Folder to write to and to continue.")
    seeds: int = options.setting(3, "How many seeds.")
    first_seed: int = options.setting(0, "The first of them.")
    steps: int = options.setting(5000, "Training steps of every run.")
    methods: str = options.setting("", "Methods, separated by commas; default all.")
    entropy_weight: float = options.setting(-1.0, "In place of the methods' own.")
    learning_rate: float = options.setting(1e-3, "Adam's step size for the energy.")
    generator_learning_rate: float = options.setting(1e-3, "And for the generator.")
    posterior_learning_rate: float = options.setting(2e-3, "And for the estimator.")
    table: bool = options.setting(False, "Only print the table and draw the samples.")


def load_classifier(folder: Path, data_dir: str) -> keras.Model:
    """The classifier saved in `folder`; trained and saved if there is none."""
    path = folder / "classifier.keras"
    if path.is_file():
        return keras.saving.load_model(path)
    classifier, accuracy = train_classifier(data_dir, image_size=SHAPE[0])
    print(f"classifier: test accuracy {accuracy:.4f}", flush=True)
    classifier.save(path)
    return classifier


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(BenchmarkSettings)
    folder = folders.require_folder("output")
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    if not settings.table:
        folder.mkdir(parents=True, exist_ok=True)
        classifier = load_classifier(folder, settings.data_dir)
        path = file_of(folder, REAL, seeds[0])
        if not path.is_file():
            save_run(path, *measure_real(settings, classifier))
        methods = settings.methods.split(",") if settings.methods else list(METHODS)
        for seed in seeds:
            for method in methods:
                path = file_of(folder, method, seed)
                if not path.is_file():
                    save_run(path, *run_one(method, seed, settings, classifier))
    print(table(folder, seeds))
    draw_samples(folder, seeds[0])


if __name__ == "__main__":
    options.define_flags(BenchmarkSettings)
    running.run_program(main)
