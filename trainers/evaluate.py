r"""Measures a trained model: accuracy, calibration, foreign sets, and its samples.

Run from the top of the checkout:

    python -m trainers.evaluate --model=runs/digits/model.keras \
        --dataset=digits --ood=noise:uniform --ood=rotate:90 \
        --samples=1000 --feature_extractor=digits.keras \
        --output=runs/digits/evaluation.json --report=runs/digits/report.html
"""

import dataclasses
import hashlib
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from keras_ebm import VERA, EnergyModel, LangevinModel, metrics, ood, plots
from keras_ebm.networks import with_features
from trainers import common, data, report
from trainers.common import setting
from trainers.measures import classification_measures

FLAGS = flags.FLAGS

REQUIRES = ("logits", "features", "gradient_norm")
#: Scores of the energy model itself; the others are free on any classifier.
ENERGY_SCORES = ("energy", "approximate_mass")
#: Samples drawn at a time, and images that a feature extractor is given at a time.
SAMPLE_BATCH = 500
IMAGE_BATCH = 100
#: Samples of a report where `--samples` asks for none, and at most.
SHOWN = 64


@dataclasses.dataclass(frozen=True)
class EvaluateSettings:
    """What to measure, on what."""

    CHOICES = {"reference_split": ("test", "train")}

    model: str = setting("", "model.keras in the folder of its run.")
    dataset: str = setting(
        "", "Known data; the training data's spec takes the run's test split."
    )
    data_dir: str = setting("", "Folder of prepared tensorflow-datasets.")
    target: str = setting("", "Label column of a csv; default that of the run.")
    scores: str = setting(
        "",
        "Scores to report, separated by commas, each a name or A+B; default all "
        "single ones, energy+knn and energy+class_gaussian.",
    )
    resamples: int = setting(200, "Bootstrap resamples of each interval.")
    samples: int = setting(0, "Samples of an image model to draw and measure; 0: none.")
    sample_noise: bool = setting(
        True, "Whether a generator's samples carry its Gaussian noise, sigma."
    )
    feature_extractor: str = setting(
        "",
        "With --samples: .keras file of a classifier of the run's images (pixel values "
        "0 to 255) to logits, or a trained energy model; default Keras's InceptionV3.",
    )
    reference: str = setting(
        "",
        "With --samples: npz file that statistics of real images are kept in; read if "
        "it exists, else written.",
    )
    reference_split: str = setting("test", "The run's split that they are of.")
    seed: int = setting(0, "Seed of the noise sets, the bootstrap and the samples.")
    output: str = setting("", "JSON file to write.")
    report: str = setting("", "HTML file to write, pictures included; optional.")
    pictures: str = setting("", "Folder for the report's pictures as PNG; optional.")


def define_flags() -> None:
    common.define_flags(EvaluateSettings)
    flags.DEFINE_multi_string(
        "ood",
        [],
        "Foreign set, repeatable: a dataset spec, noise:uniform, noise:gaussian, "
        "rotate:90, or holdout.",
    )


def evaluate(settings: EvaluateSettings, foreign_specs) -> dict:
    """Measures a model on known and foreign data.

    Args:
        settings: `EvaluateSettings`.
        foreign_specs: list of specs for `keras_ebm.data.foreign`.

    Returns:
        Flat dict: `accuracy`, `nll` (nats), `ece`, `brier`, `num_known`, and
        `ood`: foreign set -> score -> `auroc`, `aupr`, `fpr95`, each with
        `_low` and `_high` (95 % bootstrap), `kind` (`"energy"`,
        `"baseline"` or `"combined"`) and `worse_than_chance`. With `samples`
        also `samples`: see `sample_measures`.

    Raises:
        ValueError: if the model or the data cannot be used.
        OSError: if no feature extractor can be had.
    """
    return examine(settings, foreign_specs)[0]


def examine(settings: EvaluateSettings, foreign_specs):
    """Does what `evaluate` does, and keeps what a report is drawn from.

    Returns:
        `(results, evidence)`: the dict of `evaluate`, and `report.Evidence`.
    """
    model = common.load_model(settings.model)
    run = data.recall(settings.model, data_dir=settings.data_dir)
    # What can be refused is, before the work of the scores.
    sampled = _prepare_samples(model, run, settings)
    x, y = known_rows(settings, run)
    foreign = {spec: data.foreign(spec, run, settings.seed) for spec in foreign_specs}
    known = ood.network_outputs(model, x, y, requires=REQUIRES)
    results = {"num_known": len(x)}
    if model.num_classes > 1:
        results |= classification_measures(known["logits"], y)
    scores = fitted_scores(model, run, settings.scores)
    known_scores = {name: score.predict(known) for name, score in scores.items()}
    results["ood"] = {}
    energies = {"known": energy_of(model, known)}
    for spec, rows in foreign.items():
        outputs = ood.network_outputs(model, rows, requires=REQUIRES)
        energies[spec] = energy_of(model, outputs)
        results["ood"][spec] = {
            name: detection(known_scores[name], score.predict(outputs), name, settings)
            for name, score in scores.items()
        }
    images = None
    if sampled:
        images = sample_images(model, settings.samples, settings)
        results["samples"] = sample_measures(model, images, *sampled, settings)
    elif (settings.report or settings.pictures) and run.dataset.kind == "image":
        images = sample_images(model, SHOWN, settings) if can_sample(model) else None
    images = None if images is None else images[:SHOWN]
    return results, report.Evidence(model, x, y, known["logits"], energies, images)


def energy_of(model, outputs: dict) -> np.ndarray:
    """Energies in nats from the outputs of a network, `(rows,)`."""
    return np.asarray(model.to_energy(outputs["logits"]))


def known_rows(settings, run):
    """The run's test split, or all rows of other data."""
    spec = settings.dataset
    if data.is_training_data(settings.model, spec, settings.data_dir):
        return run.rows("test")
    other = data.load_like(settings.model, spec, settings.data_dir, settings.target)
    rows = slice(len(other.x) - other.num_test if other.num_test else 0, None)
    return other.x[rows], other.y[rows]


def fitted_scores(model, run, names: str = "") -> dict:
    """Scores by name, fitted on the run's training and validation rows."""
    if names:
        wanted = names.split(",")
    else:
        wanted = [*ood.SCORES, "energy+knn", "energy+class_gaussian"]
        if model.num_classes < 2:
            wanted = [*ENERGY_SCORES, "knn"]
    scores = {name: ood.make_score(name) for name in wanted}
    learned = [score for score in scores.values() if score.fitted_names]
    if learned:
        needs = frozenset.union(*(score.requires for score in learned))
        parts = [
            ood.network_outputs(model, *run.rows(part), requires=needs)
            for part in ("train", "validation")
        ]
    for score in learned:
        score.fit(*parts)
    return scores


def detection(known: np.ndarray, foreign: np.ndarray, name: str, settings) -> dict:
    """Detection measures of one score on one foreign set, with intervals."""
    measures = metrics.detection_report(
        known, foreign, num_resamples=settings.resamples, seed=settings.seed
    )
    values = {}
    for measure, value in measures.items():
        values[measure] = value["value"]
        values[f"{measure}_low"] = value["low"]
        values[f"{measure}_high"] = value["high"]
    kind = "energy" if name in ENERGY_SCORES else "baseline"
    return {
        **values,
        "kind": "combined" if "+" in name else kind,
        "worse_than_chance": values["auroc"] < 0.5,
        "num_foreign": len(foreign),
    }


def _prepare_samples(model, run, settings):
    """`(extractor, reference)` for `sample_measures`; None without `samples`."""
    if settings.samples == 0:
        for name in ("feature_extractor", "reference"):
            if getattr(settings, name):
                raise ValueError(
                    f"`{name}` is for samples. Received: {name}="
                    f"{getattr(settings, name)} with samples=0."
                )
        return None
    if settings.samples < 3:
        raise ValueError(
            f"`samples` must be 0 or at least 3. Received: samples={settings.samples}."
        )
    if run.dataset.kind != "image" or not can_sample(model):
        raise ValueError(
            "`samples` needs a model of images that can sample: a generator, or chains "
            f"that do not start at data. Received: a {type(model).__name__} of "
            f"{run.dataset.kind} rows."
        )
    extractor = load_extractor(settings.feature_extractor, run.dataset.input_shape)
    return extractor, reference_of(run, extractor, settings)


def can_sample(model) -> bool:
    """Whether `model.sample(n)` needs no data to start from."""
    if isinstance(model, LangevinModel):
        return model.negatives.start != "data"
    return isinstance(model, VERA)


class ClassifierFeatures:
    """What a classifier of raw images sees in them.

    Call arguments:
        images: uint8 array `(batch, height, width, channels)`.

    Returns:
        Dict of `"features"` `(batch, d)`, the input of the layer of the logits, and
        `"probabilities"` `(batch, K)`, the logits' softmax.
    """

    def __init__(self, classifier: keras.Model):
        self.name = metrics.extractor_name(classifier)
        self.preprocess = lambda x: tf.cast(x, tf.float32)
        network = classifier
        if isinstance(classifier, EnergyModel):
            network, self.preprocess = classifier.network, classifier.preprocess
        self.network = with_features(network)

    def __call__(self, images):
        outputs = self.network(self.preprocess(images), training=False)
        logits = tf.cast(outputs["logits"], tf.float32)
        return {
            "features": outputs["features"],
            "probabilities": tf.nn.softmax(logits),
        }


def load_extractor(path: str, shape):
    """The feature extractor in a file, or Keras's InceptionV3 for none.

    Raises:
        ValueError: if the file holds no classifier of images of `shape` to logits.
    """
    if not path:
        return metrics.InceptionFeatures()
    if not Path(path).is_file():
        raise ValueError(
            f"`feature_extractor` must be a .keras file. Received: {path}, which does "
            "not exist."
        )
    try:
        classifier = keras.saving.load_model(path, compile=False)
    except Exception as error:
        raise ValueError(
            f"`feature_extractor` must be a .keras file. Received: {path}, which "
            f"cannot be loaded ({str(error).splitlines()[0]})."
        ) from error
    network = getattr(classifier, "network", classifier)
    last = network.layers[-1]
    softmax = keras.activations.softmax
    if isinstance(last, keras.layers.Softmax) or (
        getattr(last, "activation", None) is softmax
    ):
        raise ValueError(
            "`feature_extractor` must end in logits. Received: "
            f"{path}, which ends in a softmax; save it without."
        )
    extractor = ClassifierFeatures(classifier)
    try:
        found = extractor(np.zeros((1, *shape), np.uint8))
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        raise ValueError(
            f"`feature_extractor` must take images of shape {tuple(shape)}. Received: "
            f"{path}, which does not ({str(error).splitlines()[0]})."
        ) from error
    if len(found["features"].shape) != 2 or found["probabilities"].shape[-1] < 2:
        raise ValueError(
            "`feature_extractor` must make the logits of classes from a vector of "
            f"features. Received: {path}, with features of shape "
            f"{tuple(found['features'].shape)} and "
            f"{found['probabilities'].shape[-1]} logits."
        )
    return extractor


def reference_of(run, extractor, settings) -> metrics.ReferenceStatistics:
    """Statistics of a split of the run, read from `settings.reference` if it exists."""
    split = settings.reference_split
    x, _ = run.rows(split)
    digest = hashlib.sha256(np.ascontiguousarray(x)).hexdigest()[:16]
    description = f"{run.dataset.name} {split} split, {len(x)} images, {digest}"
    path = settings.reference
    if path and Path(path).exists():
        found = metrics.ReferenceStatistics.load(path, extractor)
        if found.description != description:
            raise ValueError(
                f"`reference` must hold statistics of {description!r}. Received: "
                f"{path}, with those of {found.description!r}; give another file."
            )
        return found
    with warnings.catch_warnings():
        # `few_samples` says it.
        warnings.simplefilter("ignore", UserWarning)
        found = metrics.reference_statistics(
            _batches(x), extractor, seed=settings.seed, description=description
        )
    if path:
        found.save(path)
    return found


def _batches(x):
    return (x[i : i + IMAGE_BATCH] for i in range(0, len(x), IMAGE_BATCH))


def sample_images(model, num: int, settings) -> np.ndarray:
    """Samples as uint8 images `(num, height, width, channels)`."""
    noise = {"noise": settings.sample_noise} if isinstance(model, VERA) else {}
    low, high = plots.pixel_range(model)
    parts = []
    for start in range(0, num, SAMPLE_BATCH):
        count = min(SAMPLE_BATCH, num - start)
        x = model.sample(count, seed=settings.seed + start, **noise)
        parts.append(metrics.to_pixels(2.0 * (x - low) / (high - low) - 1.0))
    return np.concatenate(parts)


def sample_measures(model, images, extractor, reference, settings) -> dict:
    """Measures of samples against real images.

    Args:
        model: what they are of.
        images: uint8 array `(n, height, width, channels)`.
        extractor: callable from images to a dict of features and probabilities.
        reference: `keras_ebm.metrics.ReferenceStatistics`.
        settings: `EvaluateSettings`.

    Returns:
        Flat dict: `frechet_distance`, `few_samples` (whether a covariance in it is
        singular for want of images), `kernel_distance`, `kernel_distance_error`
        (standard error), `inception_score`, `inception_score_stddev` over
        `inception_splits`, and what they depend on: `num_samples`, `source`,
        `sigma_noise` (None without a generator), `feature_extractor` (its file),
        `extractor` (a digest of it), `num_features`, `reference_split`, `reference`
        (with a digest of its images), `num_reference`.
    """
    frechet = metrics.FrechetDistance(reference, None)
    kernel = metrics.KernelDistance(reference, None, seed=settings.seed)
    # A split of n samples scores at most n.
    splits = min(10, max(1, len(images) // 100))
    inception = metrics.InceptionScore(None, splits=splits)
    for batch in _batches(images):
        found = extractor(batch)
        frechet.update_state(found["features"])
        kernel.update_state(found["features"])
        inception.update_state(found["probabilities"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        distance = float(frechet.result())
    num_features = len(reference.mean)
    is_vera = isinstance(model, VERA)
    return {
        "frechet_distance": distance,
        "few_samples": min(len(images), reference.num_samples) <= num_features,
        "kernel_distance": kernel.estimate().value,
        "kernel_distance_error": kernel.estimate().standard_error,
        "inception_score": inception.estimate().mean,
        "inception_score_stddev": inception.estimate().stddev,
        "inception_splits": splits,
        "num_samples": len(images),
        "source": "generator" if is_vera else "chains",
        "sigma_noise": settings.sample_noise if is_vera else None,
        "feature_extractor": settings.feature_extractor or "inception",
        "extractor": extractor.name,
        "num_features": num_features,
        "reference_split": settings.reference_split,
        "reference": reference.description,
        "num_reference": reference.num_samples,
    }


def table(results: dict) -> str:
    """The results as the text that the program prints."""
    lines = []
    for name in ("num_known", "accuracy", "nll", "ece", "brier"):
        if name in results:
            lines.append(f"{name:12s} {results[name]:.6g}")
    if "samples" in results:
        lines.append("\nsamples")
        for name, value in results["samples"].items():
            text = f"{value:.6g}" if isinstance(value, float) else value
            lines.append(f"  {name:24s} {text}")
    for spec, scores in results["ood"].items():
        lines.append(f"\n{spec}: AUROC, AUPR, FPR95 in % with 95 % intervals")
        for name, value in scores.items():
            cells = [
                f"{100 * value[key]:5.1f} [{100 * value[key + '_low']:5.1f}, "
                f"{100 * value[key + '_high']:5.1f}]"
                for key in ("auroc", "aupr", "fpr95")
            ]
            flag = "  WORSE THAN CHANCE" if value["worse_than_chance"] else ""
            lines.append(f"  {name:24s} {value['kind']:9s} {'  '.join(cells)}{flag}")
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    del argv
    for name in ("model", "dataset"):
        common.require(name)
    output = common.require_file("output")
    for name in ("report", "reference"):
        if FLAGS[name].value:
            common.require_file(name)
    if FLAGS.pictures:
        common.require_folder("pictures")
    settings = common.from_flags(EvaluateSettings)
    with common.usage_errors():
        if settings.report or settings.pictures:
            plots.pyplot()
        results, evidence = examine(settings, FLAGS.ood)
    common.write_json(output, results)
    if settings.report or settings.pictures:
        pictures = report.draw(results, evidence)
        if settings.pictures:
            report.write_pictures(settings.pictures, pictures)
        if settings.report:
            report.write(settings.report, f"{settings.model}", results, pictures)
    print(table(results))


if __name__ == "__main__":
    define_flags()
    common.run_program(main)
