"""Trains an energy of attributes, composes it, and judges what comes out."""

import time
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_ebm import models, networks
from keras_ebm.compose import all_but, all_of, any_of
from keras_ebm.data import held_out_size, measure_sprites
from keras_ebm.random import StepRandom
from keras_ebm.samplers import annealed_langevin, noise_levels
from trainers.program.options import integers
from trainers.run.sprite_rows import FIRST, NUM_LABELS, ORDER, SpriteRows, all_sprites

#: Samples among which the best is taken, of the free alternative.
CANDIDATES = 6
#: Samples whose energies are taken at once.
CHUNK = 100
SHOWN = 9


def inside(images: np.ndarray) -> np.ndarray:
    """Pixels from -1 to 1."""
    return images.astype(np.float32) / 127.5 - 1.0


def train_energy(rows: SpriteRows, settings, joint: bool = False):
    """A `DenoisingModel` of `E(x, label)`, or with `joint` of all three labels at once.

    A picture tells one of its labels, drawn anew each time it is shown.
    """
    keras.utils.set_random_seed(settings.seed)
    pixels = inside(rows.images[:2_000])
    shape = rows.images.shape[1:]
    denoiser = networks.convolutional_denoiser(
        shape,
        filters=integers("`filters`", settings.filters),
        bottleneck=settings.bottleneck,
        num_classes=NUM_LABELS,
    )
    network = networks.ReconstructionEnergy(
        denoiser,
        low=settings.low,
        high=settings.high,
        data_mean=float(pixels.mean()),
        data_stddev=float(pixels.std()),
        vector_labels=joint,
    )
    model = models.DenoisingModel(network, seed=settings.seed)
    schedule = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate, settings.steps
    )
    model.compile(
        keras.optimizers.Adam(schedule, clipnorm=1.0, use_ema=True, ema_momentum=0.99)
    )
    batches = _batches(rows, settings, joint)
    model.fit(batches, steps_per_epoch=settings.steps, verbose=0)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    return model


def _batches(rows, settings, joint) -> tf.data.Dataset:
    def shown(images, labels, key):
        if joint:
            told = tf.reduce_sum(tf.one_hot(labels, NUM_LABELS), axis=1)
        else:
            which = tf.random.stateless_uniform(
                tf.shape(labels)[:1], (settings.seed, key), 0, len(ORDER), tf.int32
            )
            told = tf.gather(labels, which, batch_dims=1)
        return tf.cast(images, tf.float32) / 127.5 - 1.0, told

    batches = tf.data.Dataset.from_tensor_slices((rows.images, rows.labels))
    batches = batches.shuffle(len(rows.images), seed=settings.seed).repeat()
    batches = batches.batch(settings.batch_size, drop_remainder=True)
    keys = tf.data.Dataset.counter(dtype=tf.int32)
    batches = tf.data.Dataset.zip(batches, keys)
    return batches.map(lambda pair, key: shown(*pair, key)).prefetch(2)


class Judge(NamedTuple):
    """Tells what a picture shows, and how often it is right of real ones.

    Attributes:
        networks: classifiers by the names of attributes; of sprites drawn here the
            moments tell the others.
        accuracy: of each on 1,000 real pictures that it was not trained on.
    """

    networks: dict
    accuracy: dict

    @classmethod
    def trained(cls, settings) -> "Judge":
        """Classifiers trained on pictures of every combination."""
        moments = settings.dataset == "sprites"
        seed = settings.seed + 1_000_003
        count = 20_000
        rows, test = (all_sprites(settings, n, seed + n) for n in (count, 1_000))
        found, accuracy = {}, {}
        for name in ("shape",) if moments else ORDER:
            column = ORDER.index(name)
            y, test_y = (r.labels[:, column] - FIRST[name] for r in (rows, test))
            network = _classifier(rows.images, y, name, settings, seed)
            answers = np.argmax(_logits(network, inside(test.images)), axis=1)
            found[name], accuracy[name] = network, float(np.mean(answers == test_y))
        return cls(found, accuracy)

    def attributes(self, x: np.ndarray) -> dict:
        """Classes of each attribute of pictures from -1 to 1; -1: none."""
        size, position = measure_sprites(np.clip(x, -1.0, 1.0))
        found = {"size": size, "position": position}
        for name, network in self.networks.items():
            answers = np.argmax(_logits(network, x), axis=1)
            # What is no figure has no shape either.
            broken = size < 0 if "size" not in self.networks else False
            found[name] = np.where(broken, -1, answers)
        return found


def _classifier(images, y, name, settings, seed):
    keras.utils.set_random_seed(seed % 2**32)
    network = networks.strided_energy(
        images.shape[1:],
        int(y.max()) + 1,
        pooling="flatten" if name == "position" else "sum",
    )
    model = models.EnergyModel(network, energy_weight=0.0, data_stddev=0.3)
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, settings.judge_steps)
    model.compile(keras.optimizers.Adam(schedule))
    batches = tf.data.Dataset.from_tensor_slices((images, y)).shuffle(len(y), seed=0)
    batches = batches.repeat().batch(64)
    batches = batches.map(lambda x, y: (tf.cast(x, tf.float32) / 127.5 - 1.0, y))
    model.fit(batches, steps_per_epoch=settings.judge_steps, verbose=0)
    return network


def _logits(network, x) -> np.ndarray:
    return network.predict(x, batch_size=256, verbose=0)


class Targets(NamedTuple):
    """What is asked of each sample, `(n,)` classes: combinations never shown."""

    position: np.ndarray
    size: np.ndarray
    shape: np.ndarray

    @classmethod
    def of(cls, settings) -> "Targets":
        number = np.arange(settings.samples)
        position = number % 9
        size = held_out_size(position, settings.fold)
        return cls(position, size, number // 9 % 3)

    def labels(self, *names) -> list:
        """Their numbers among the labels of the network."""
        return [tf.constant(FIRST[n] + getattr(self, n), tf.int32) for n in names]


def draw(network, make_energy, settings, count=0, seed=0, start=None, high=None):
    """Samples `(n, ...)` of a composition, from -1 to 1.

    Args:
        network: `ReconstructionEnergy`.
        make_energy: callable from a slice of the rows to a `LevelEnergy`.
        settings: `ComposeSettings`.
        count: int; 0: `settings.samples`.
        seed: int, of the noise.
        start: pictures that chains start at, with noise of `high` on them, or None.
        high: float, largest noise; None: the network's.
    """
    count = count or settings.samples
    high = high or network.high
    levels = noise_levels(network.low, high, settings.levels)
    made = []
    for first in range(0, count, CHUNK):
        rows = slice(first, min(first + CHUNK, count))
        random = StepRandom(settings.seed, seed * 1_000 + first)
        shape = [rows.stop - first, *network.input_shape[1:]]
        begin = network.data_mean if start is None else start[rows]
        x = begin + high * random.normal(shape, "begin")
        made.append(
            annealed_langevin(
                make_energy(rows),
                x,
                levels,
                random=random,
                steps_per_level=settings.steps_per_level,
                step_share=settings.step_share,
            ).numpy()
        )
    return np.clip(np.concatenate(made), -1.0, 1.0)


def measure(model, rows: SpriteRows, judge: Judge, settings) -> tuple[dict, dict]:
    """Composes, and counts how many samples have what was asked for.

    Args:
        model: `DenoisingModel` of `train_energy`.
        rows: training pictures.
        judge: `Judge`.
        settings: `ComposeSettings`.

    Returns:
        `(results, pictures)`: shares by name, all of combinations held out, and a few
        samples of each by name. `two_*` are of position and size, `three_*` of all;
        `one_*` of one energy alone, `best_of` of the best of six samples of one by the
        other; `union_*` of each of two positions; `negation_without` of samples without
        a size that the position alone gives in `negation_with` of them; `crossed_*` of
        pictures that walked to another shape; `joint_*` of a network of all labels.
    """
    network, targets = model.network, Targets.of(settings)
    begun = time.perf_counter()
    results: dict = {f"judge_{k}": v for k, v in judge.accuracy.items()}
    pictures: dict = {}

    def conjoined(names, title):
        labels = targets.labels(*names)

        def energy_of(part):
            return all_of(network, [y[part] for y in labels], settings.weight)

        x = pictures[title] = draw(network, energy_of, settings)
        return judge.attributes(x)

    wanted = settings.compositions
    if "two" in wanted:
        found = conjoined(
            ("position", "size"), "position and size, never shown together"
        )
        results |= _shares(found, targets, "two", ("position", "size"))
    if "three" in wanted:
        found = conjoined(ORDER, "position, size and shape")
        results |= _shares(found, targets, "three", ORDER)
    if "one" in wanted:
        for name in ("position", "size"):
            found = conjoined((name,), f"{name} alone")
            results[f"one_{name}_together"] = _both(found, targets)
    if "best_of" in wanted:
        results["best_of_together"] = _best_of(network, judge, targets, settings)
    if "or" in wanted:
        results |= _union(network, judge, settings, pictures)
    if "not" in wanted:
        results |= _negation(network, judge, settings, pictures)
    if "cross" in wanted:
        results |= _crossing(network, judge, rows, settings, pictures)
    if settings.joint:
        results |= _joint(rows, judge, targets, settings, pictures)
    results["seconds_of_samples"] = time.perf_counter() - begun
    return results, {name: x[:SHOWN] for name, x in pictures.items()}


def _shares(found, targets, prefix, names) -> dict:
    right = {name: found[name] == getattr(targets, name) for name in names}
    shares = {f"{prefix}_{name}": float(np.mean(v)) for name, v in right.items()}
    together = float(np.mean(np.all(list(right.values()), axis=0)))
    return {**shares, f"{prefix}_together": together}


def _best_of(network, judge, targets, settings) -> float:
    """Of samples of one energy the one that the other finds likeliest."""
    count = settings.samples * CANDIDATES
    position, size = (np.tile(np.asarray(y), CANDIDATES) for y in _pair(targets))

    def energy_of(part):
        return all_of(network, [tf.constant(position[part])], settings.weight)

    x = draw(network, energy_of, settings, count, seed=11)
    gaps = []
    for first in range(0, count, CHUNK):
        part = slice(first, first + CHUNK)
        y = tf.constant(size[part])
        given = network.level_energy(x[part], network.low, labels=y)
        gaps.append(given - network.level_energy(x[part], network.low))
    gaps = np.concatenate(gaps).reshape(CANDIDATES, -1)
    best = np.argmin(gaps, axis=0)
    x = x.reshape(CANDIDATES, -1, *x.shape[1:])[best, np.arange(len(best))]
    return _both(judge.attributes(x), targets)


def _both(found, targets) -> float:
    """Share of samples of the position and of the size that were asked for."""
    return _shares(found, targets, "two", ("position", "size"))["two_together"]


def _pair(targets):
    return targets.labels("position", "size")


def _union(network, judge, settings, pictures) -> dict:
    """Two positions, either of which will do."""
    ends = [np.full(settings.samples, k) for k in (0, 8)]

    def energy_of(part):
        return any_of(network, [tf.constant(end[part], tf.int32) for end in ends])

    x = pictures["one of two corners"] = draw(network, energy_of, settings, seed=12)
    position = judge.attributes(x)["position"]
    return {
        "union_first": float(np.mean(position == 0)),
        "union_second": float(np.mean(position == 8)),
    }


def _negation(network, judge, settings, pictures) -> dict:
    """A position without a size that it was shown with."""
    position = np.arange(settings.samples) % 9
    size = (held_out_size(position, settings.fold) + 1) % 3
    wanted = tf.constant(FIRST["position"] + position, tf.int32)
    unwanted = tf.constant(FIRST["size"] + size, tf.int32)

    def plain(part):
        return all_of(network, [wanted[part]], settings.weight)

    def without(part):
        return all_but(
            network,
            [wanted[part]],
            unwanted[part],
            settings.weight,
            settings.against,
        )

    before = judge.attributes(draw(network, plain, settings, seed=13))
    x = draw(network, without, settings, seed=13)
    pictures["a position without a size"] = x
    after = judge.attributes(x)
    return {
        "negation_with": float(np.mean(before["size"] == size)),
        "negation_without": float(np.mean((after["size"] != size) & _whole(after))),
        "negation_position": float(np.mean(after["position"] == position)),
    }


def _whole(found):
    return found["size"] >= 0


def _crossing(network, judge, rows, settings, pictures) -> dict:
    """Training pictures that walk to another shape, from noise of half their spread."""
    images, labels = rows.images[: settings.samples], rows.labels[: settings.samples]
    before = {name: labels[:, i] - FIRST[name] for i, name in enumerate(ORDER)}
    shape = (before["shape"] + 1) % 3
    y = tf.constant(FIRST["shape"] + shape, tf.int32)

    def energy_of(part):
        return all_of(network, [y[part]], settings.weight)

    start = inside(images)
    x = draw(
        network,
        energy_of,
        settings,
        count=len(images),
        seed=14,
        start=start,
        high=0.5,
    )
    pictures["pictures of one shape"] = start
    pictures["walked to another"] = x
    found = judge.attributes(x)
    return {
        "crossed_shape": float(np.mean(found["shape"] == shape)),
        "crossed_position": float(np.mean(found["position"] == before["position"])),
        "crossed_size": float(np.mean(found["size"] == before["size"])),
    }


def _joint(rows, judge, targets, settings, pictures) -> dict:
    """A network that was told all labels of a picture, asked for the unseen ones."""
    network = train_energy(rows, settings, joint=True).network
    vectors = tf.add_n([tf.one_hot(y, NUM_LABELS) for y in targets.labels(*ORDER)])

    def energy_of(part):
        return all_of(network, [vectors[part]], settings.weight)

    x = draw(network, energy_of, settings, seed=15)
    pictures["a network of all labels"] = x
    found = judge.attributes(x)
    together = _shares(found, targets, "joint", ORDER)["joint_together"]
    return {"joint_two_together": _both(found, targets), "joint_three": together}
