"""Trains energies of single attributes, composes them, and judges what comes out."""

import time
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_ebm import compose, models, negatives, networks
from keras_ebm.data import held_out_size, measure_sprites
from keras_ebm.data.sprites import ATTRIBUTES
from keras_ebm.gradients import with_clipped_gradient
from keras_ebm.trainers.program.options import integers
from keras_ebm.trainers.run.sprite_rows import (
    FIRST,
    NUM_LABELS,
    ORDER,
    SpriteRows,
    all_sprites,
)

#: Samples among which the best is taken, of the free alternative.
CANDIDATES = 6
#: Samples that walk at once.
CHUNK = 99
SHOWN = 9
#: Samples by which the weights of an energy are chosen.
CHECKED = 63
#: Name of the energy of all attributes at once.
JOINT = "joint"


def train_energies(rows: SpriteRows, judge, settings, names=ORDER) -> dict:
    """Energies `E(x, y)` of one attribute each, by Markov chains under labels.

    What tells the place of a figure sees where its features are; what tells its size or
    its shape takes their mean over places, so that it is the same wherever the figure
    is. The weights are those of the round whose samples showed their own label most
    often, of labels that training has: longer is not better.

    Args:
        rows: training pictures.
        judge: `Judge`, which tells the labels of samples.
        settings: `ComposeSettings`.
        names: attributes, or `JOINT` for one energy of vectors of all three.

    Returns:
        Dict of `LangevinModel`s by name.
    """
    return {name: _train(rows, judge, name, settings) for name in names}


def _train(rows, judge, name, settings):
    keras.utils.set_random_seed(settings.seed)
    joint, shape = name == JOINT, rows.images.shape[1:]
    network = networks.strided_energy(
        shape,
        1 if joint else ATTRIBUTES[name],
        NUM_LABELS if joint else 0,
        filters=integers("`filters`", settings.filters),
        pooling="flatten" if name in (JOINT, "position") else "mean",
    )
    buffer = negatives.ReplayBuffer(
        shape,
        settings.buffer_size,
        store_labels=True,
        label_size=NUM_LABELS if joint else 0,
    )
    chains = negatives.MarkovChains(
        chain_moves(settings, settings.num_steps, settings.max_gradient),
        buffer,
        start_mean=0.0,
        start_stddev=0.3,
        restart_share=settings.restart_share,
    )
    model = models.LangevinModel(
        networks.VectorConditional(network) if joint else network,
        chains,
        preprocessor=keras.layers.Rescaling(1.0 / 255.0),
        conditional=True,
        classification_weight=0.0 if joint else settings.classification_weight,
        energy_l2=settings.energy_l2,
        data_stddev=0.02,
        seed=settings.seed,
    )
    model.compile(
        keras.optimizers.Adam(
            settings.learning_rate, beta_1=0.0, use_ema=True, ema_momentum=0.98
        )
    )
    labels = _labels_of(rows, name)
    batches = tf.data.Dataset.from_tensor_slices((rows.images, labels))
    batches = batches.shuffle(len(labels), seed=settings.seed).repeat()
    batches = batches.batch(settings.batch_size, drop_remainder=True)
    best, weights = -1.0, network.get_weights()
    rounds = min(settings.rounds, settings.steps)
    for number in range(rounds):
        model.fit(
            batches, steps_per_epoch=settings.steps // rounds, shuffle=False, verbose=0
        )
        model.optimizer.finalize_variable_values(model.trainable_variables)
        share = _own_labels(model, judge, name, rows, labels, settings, number)
        if share > best:
            best, weights = share, network.get_weights()
    network.set_weights(weights)
    return model


def _own_labels(model, judge, name, rows, labels, settings, number) -> float:
    """Share of samples under labels of training pictures that show these."""
    chosen = np.random.default_rng((settings.seed, number))
    chosen = chosen.integers(len(labels), size=CHECKED)
    kept = tf.constant(labels[chosen])
    energy_of = _sum_of([_given(model, kept)], settings)
    x = draw({name: model}, lambda part: energy_of, settings, CHECKED, seed=16)
    found = judge.attributes(x)
    names = ORDER if name == JOINT else (name,)
    right = [
        found[one] == rows.labels[chosen, ORDER.index(one)] - FIRST[one]
        for one in names
    ]
    return float(np.mean(np.all([*right, found["size"] >= 0], axis=0)))


def chain_moves(settings, num_steps: int, max_gradient: float | None = None):
    """The steps of chains in pixels from 0 to 1."""
    return negatives.LangevinMoves(
        num_steps,
        settings.step_size,
        settings.noise_stddev,
        noise_first=True,
        max_gradient=max_gradient,
        box=(0.0, 1.0),
    )


def _labels_of(rows, name):
    if name == JOINT:
        return np.eye(NUM_LABELS, dtype=np.float32)[rows.labels].sum(axis=1)
    return rows.labels[:, ORDER.index(name)] - FIRST[name]


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
            answers = np.argmax(_logits(network, test.images / 255.0), axis=1)
            found[name], accuracy[name] = network, float(np.mean(answers == test_y))
        return cls(found, accuracy)

    def attributes(self, x: np.ndarray) -> dict:
        """Classes of each attribute of pictures from 0 to 1; -1: none."""
        size, position = measure_sprites(np.clip(x, 0.0, 1.0))
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
    model = models.EnergyModel(network, energy_weight=0.0, data_stddev=0.15)
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, settings.judge_steps)
    model.compile(keras.optimizers.Adam(schedule))
    batches = tf.data.Dataset.from_tensor_slices((images, y)).shuffle(len(y), seed=0)
    batches = batches.repeat().batch(64)
    batches = batches.map(lambda x, y: (tf.cast(x, tf.float32) / 255.0, y))
    model.fit(batches, steps_per_epoch=settings.judge_steps, shuffle=False, verbose=0)
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
        """Their classes of each attribute, as tensors."""
        return [tf.constant(getattr(self, name), tf.int32) for name in names]


#: From a slice of the rows to the energy of inputs that these rows walk on.
RowEnergy = Callable[[slice], Callable[[tf.Tensor], tf.Tensor]]


def conjunction(energies: dict, targets, names, settings) -> RowEnergy:
    """The sum of energies, the gradient of each clipped by itself."""
    labels = dict(zip(names, targets.labels(*names), strict=True))

    def energy_of(part):
        return _sum_of(
            [_given(energies[name], labels[name][part]) for name in names], settings
        )

    return energy_of


def _given(model, labels):
    return lambda x: model.class_energy(x, labels)


def _sum_of(terms, settings):
    clipped = [with_clipped_gradient(term, settings.max_gradient) for term in terms]
    return lambda x: tf.add_n([term(x) for term in clipped])


def draw(energies, energy_of: RowEnergy, settings, count=0, seed=0, start=None):
    """Samples `(n, ...)` of a composition, pixels from 0 to 1.

    Args:
        energies: `LangevinModel`s by name, of which any gives the chains' shape.
        energy_of: `RowEnergy`.
        settings: `ComposeSettings`.
        count: int; 0: `settings.samples`.
        seed: int, of starts and noise.
        start: pictures `(n, ...)` that chains start at; None: black with noise.
    """
    count = count or settings.samples
    model = next(iter(energies.values()))
    moves, made = chain_moves(settings, settings.walk_steps), []
    shape = model.network.input_shape[1:]
    noise = np.random.default_rng((settings.seed, seed)).normal(size=(count, *shape))
    if start is None:
        start = np.clip(0.3 * noise, 0.0, 1.0).astype(np.float32)
    for first in range(0, count, CHUNK):
        part = slice(first, min(first + CHUNK, count))
        x = model.sample(
            part.stop - first,
            settings.seed + 1_000 * seed + first,
            start=start[part],
            energy=energy_of(part),
            moves=moves,
        )
        made.append(x.numpy())
    return np.concatenate(made)


def measure(energies: dict, rows: SpriteRows, judge: Judge, settings):
    """Composes, and counts how many samples have what was asked for.

    Args:
        energies: of `train_energies`.
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
    targets, begun = Targets.of(settings), time.perf_counter()
    results: dict = {f"judge_{k}": v for k, v in judge.accuracy.items()}
    pictures: dict = {}

    def conjoined(names, title):
        x = draw(energies, conjunction(energies, targets, names, settings), settings)
        pictures[title] = x
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
            results[f"one_{name}"] = _own(found, targets, name)
            results[f"one_{name}_together"] = _both(found, targets)
    if "best_of" in wanted:
        results["best_of_together"] = _best_of(energies, judge, targets, settings)
    if "or" in wanted:
        results |= _union(energies, rows, judge, settings, pictures)
    if "not" in wanted:
        results |= _negation(energies, judge, settings, pictures)
    if "cross" in wanted:
        results |= _crossing(energies, judge, rows, settings, pictures)
    if settings.joint:
        results |= _joint(rows, judge, targets, settings, pictures)
    results["seconds_of_samples"] = time.perf_counter() - begun
    return results, {name: x[:SHOWN] for name, x in pictures.items()}


def _own(found, targets, name) -> float:
    return float(np.mean(found[name] == getattr(targets, name)))


def _shares(found, targets, prefix, names) -> dict:
    right = {name: found[name] == getattr(targets, name) for name in names}
    shares = {f"{prefix}_{name}": float(np.mean(v)) for name, v in right.items()}
    together = float(np.mean(np.all(list(right.values()), axis=0)))
    return {**shares, f"{prefix}_together": together}


def _both(found, targets) -> float:
    """Share of samples of the position and of the size that were asked for."""
    return _shares(found, targets, "two", ("position", "size"))["two_together"]


def _best_of(energies, judge, targets, settings) -> float:
    """Of samples of one energy the one that the other finds likeliest."""
    count = settings.samples * CANDIDATES
    many = Targets(*(np.tile(part, CANDIDATES) for part in targets))
    energy_of = conjunction(energies, many, ("position",), settings)
    x = draw(energies, energy_of, settings, count, seed=11)
    (size,), gaps = many.labels("size"), []
    for first in range(0, count, CHUNK):
        part = slice(first, first + CHUNK)
        logits = energies["size"].network(x[part])
        gaps.append(-tf.gather(tf.nn.log_softmax(logits), size[part], batch_dims=1))
    best = np.argmin(np.concatenate(gaps).reshape(CANDIDATES, -1), axis=0)
    x = x.reshape(CANDIDATES, -1, *x.shape[1:])[best, np.arange(len(best))]
    return _both(judge.attributes(x), targets)


def _union(energies, rows, judge, settings, pictures) -> dict:
    """Two positions, either of which will do.

    Chains on the union's energy from one start all slide into one mode. Those on inputs
    and on which energy they obey at once, by Gibbs steps of the latter between walks,
    have the same density of inputs and begin in either.
    """
    model, ends = energies["position"], (0, 8)
    column = rows.labels[:, ORDER.index("position")] - FIRST["position"]
    likely = [rows.images[column == end][:500] / np.float32(255.0) for end in ends]
    parts = [networks.GivenLabel(model.network, end) for end in ends]
    either = compose.Union(parts, offsets=compose.balanced_offsets(parts, likely))
    random = np.random.default_rng((settings.seed, 12))
    which, x = random.integers(2, size=settings.samples), None
    for walk in range(2):
        if walk:
            second = either.responsibilities(x).numpy()[:, 1]
            which = (random.random(len(x)) < second).astype(int)
        wanted = tf.constant(np.take(ends, which), tf.int32)
        x = draw(
            energies,
            lambda part, wanted=wanted: _sum_of(
                [_given(model, wanted[part])], settings
            ),
            settings,
            seed=12 + 100 * walk,
            start=x,
        )
    pictures["one of two corners"] = x
    position = judge.attributes(x)["position"]
    return {
        "union_first": float(np.mean(position == ends[0])),
        "union_second": float(np.mean(position == ends[1])),
    }


def _negation(energies, judge, settings, pictures) -> dict:
    """A position without a size that it was shown with.

    "Not" is `-log(1 - p(size | x))`, by the classes of the energy of sizes.
    """
    position = np.arange(settings.samples) % 9
    size = (held_out_size(position, settings.fold) + 1) % 3
    wanted, unwanted = (tf.constant(y, tf.int32) for y in (position, size))
    model = energies["size"]

    def without(part):
        def refused(x):
            logits = model.network(x)
            others = logits - 1e9 * tf.one_hot(unwanted[part], ATTRIBUTES["size"])
            kept = tf.reduce_logsumexp(others, axis=1)
            return tf.reduce_logsumexp(logits, axis=1) - kept

        place = _given(energies["position"], wanted[part])
        return _sum_of([place, model.inputs_energy, refused], settings)

    def plain(part):
        place = _given(energies["position"], wanted[part])
        return _sum_of([place, model.inputs_energy], settings)

    before = judge.attributes(draw(energies, plain, settings, seed=13))
    x = pictures["a position without a size"] = draw(
        energies, without, settings, seed=13
    )
    after = judge.attributes(x)
    return {
        "negation_with": float(np.mean(before["size"] == size)),
        "negation_without": float(
            np.mean((after["size"] != size) & (after["size"] >= 0))
        ),
        "negation_position": float(np.mean(after["position"] == position)),
    }


def _crossing(energies, judge, rows, settings, pictures) -> dict:
    """Training pictures that walk to the next position, size or shape."""
    images, labels = rows.images[: settings.samples], rows.labels[: settings.samples]
    start = images.astype(np.float32) / 255.0
    pictures["pictures"] = start
    found = {}
    for index, name in enumerate(ORDER):
        own = labels[:, index] - FIRST[name]
        wanted = tf.constant((own + 1) % ATTRIBUTES[name], tf.int32)
        model = energies[name]

        def energy_of(part, model=model, wanted=wanted):
            return _sum_of([_given(model, wanted[part])], settings)

        x = draw(energies, energy_of, settings, len(images), seed=14, start=start)
        pictures[f"walked to another {name}"] = x
        answers = judge.attributes(x)[name]
        found[f"crossed_{name}"] = float(np.mean(answers == wanted.numpy()))
    return found


def _joint(rows, judge, targets, settings, pictures) -> dict:
    """A network that was told all labels of a picture, asked for the unseen ones."""
    model = train_energies(rows, judge, settings, (JOINT,))[JOINT]
    numbers = [FIRST[name] + getattr(targets, name) for name in ORDER]
    vectors = np.eye(NUM_LABELS, dtype=np.float32)[np.stack(numbers, axis=1)]
    vectors = tf.constant(vectors.sum(axis=1))

    def energy_of(part):
        return _sum_of([_given(model, vectors[part])], settings)

    x = draw({JOINT: model}, energy_of, settings, seed=15)
    pictures["a network of all labels"] = x
    found = judge.attributes(x)
    together = _shares(found, targets, "joint", ORDER)["joint_together"]
    return {"joint_two_together": _both(found, targets), "joint_three": together}
