"""How good a model's samples are: what `keras-ebm evaluate --samples` measures."""

import hashlib
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_ebm import BaseEnergyModel, metrics, plots
from keras_ebm.networks import with_features
from keras_ebm.trainers.program import folders, keras_files

#: Samples drawn at a time, and images that a feature extractor is given at a time.
SAMPLE_BATCH = 500
IMAGE_BATCH = 100


def prepare_samples(model, run, settings):
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
    if run.dataset.kind != "image" or not model.can_sample:
        raise ValueError(
            "`samples` needs a model of images that can sample: a generator, or chains "
            f"that do not start at data. Received: a {type(model).__name__} of "
            f"{run.dataset.kind} rows."
        )
    extractor = load_extractor(settings.feature_extractor, run.dataset.input_shape)
    return extractor, reference_of(run, extractor, settings)


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
        if isinstance(classifier, BaseEnergyModel):
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
    classifier = keras_files.load_keras("feature_extractor", path)
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
        folders.make_parent(path)
        found.save(path)
    return found


def _batches(x):
    return (x[i : i + IMAGE_BATCH] for i in range(0, len(x), IMAGE_BATCH))


def sample_images(model, num: int, settings) -> np.ndarray:
    """Samples as uint8 images `(num, height, width, channels)`."""
    noise = {"noise": settings.sample_noise} if model.generator is not None else {}
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
    is_vera = model.generator is not None
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
