"""What every model here has: a network of energies, and how `fit` trains it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_ebm.arguments import (
    check_floatx,
    check_integer,
    check_names,
    check_positive,
)
from keras_ebm.layers.logit_energy import LogitEnergy
from keras_ebm.layers.spectral_norm import update_spectral_norms
from keras_ebm.models.batches import Batch, unpack, unpack_views
from keras_ebm.models.calls import ChecksCalls
from keras_ebm.models.label_checks import check_labels, check_vectors
from keras_ebm.models.probabilities import GivesProbabilities
from keras_ebm.models.raw_inputs import TakesRawInputs
from keras_ebm.models.reporting import ReportsMeans
from keras_ebm.models.saving import SavesParts
from keras_ebm.models.updating import descend
from keras_ebm.negatives import NegativeSource
from keras_ebm.networks.graphs import input_struct, is_functional, last_activation
from keras_ebm.protocols import Generator, RandomDraws
from keras_ebm.random import StepRandom, reseed


class Drawn(NamedTuple):
    """What a step sets the data against.

    Args:
        negatives: list of preprocessed batches.
        samples: the sampler's own negatives, where `dE/dx` is wanted, or None.
        weights: of the negatives, summing to 1, or None for equal ones.
        labels: `(data, negatives)`, of both, where energies are of labels.
        logs: scalars by name.
        rest: what the model's own hooks need of the draw.
    """

    negatives: list = []
    samples: tf.Tensor | None = None
    weights: tf.Tensor | None = None
    labels: tuple | None = None
    logs: dict = {}
    rest: Any = None


class EnergyStep(NamedTuple):
    """What one descent of the energy leaves for the sampler's turn.

    `sample_gradient` is `dE/dx` at the sampler's own negatives, read off the
    energy's backward pass; None where there are none.
    """

    logs: dict
    sample_gradient: tf.Tensor | None


class BaseEnergyModel(
    ChecksCalls,
    SavesParts,
    ReportsMeans,
    GivesProbabilities,
    TakesRawInputs,
    keras.Model,
):
    """Base of the models: `E(x) = -logsumexp_y f(x)[y]` for the logits of a network.

    A training step draws (`draw_step`), descends the energy's loss (`step_loss`), and
    does what follows from it (`follow`); a subclass says what these are, and
    `test_loss`. Capabilities that a subclass may have are attributes here:
    `generator`, `negatives`, `conditional` (whether energies are of labels) and
    `can_sample` (whether `sample(n)` needs no data).

    Args:
        network: Keras model from preprocessed inputs to logits `(batch, K)`.
        preprocessor: Keras layer from raw inputs to what `network` takes, or None.
        data_stddev: float >= 0, Gaussian noise added to preprocessed data in
            training, in its units.
        class_names: K strings, kept for serving; optional.
        temperature: float > 0 that `probabilities` divides logits by; see
            `fit_temperature`.
        lapse_rate: float in [0, 1), share of an even guess in `probabilities`.
        class_offsets: K floats that are added to logits for classes and
            probabilities, not for energies, or None; see
            `keras_ebm.estimators.ClassShares`.
        seed: int, keys every random draw together with the iteration.
        trained_on: string that names the split that the model was trained on, such as
            `keras_ebm.data.split_digest` gives; kept for the programs, or None.
        **kwargs: forwarded to `keras.Model`.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    _read_anew = (
        "temperature",
        "lapse_rate",
        "class_offsets",
        "class_names",
        "trained_on",
    )
    generator: Generator | None = None
    negatives: NegativeSource | Callable | None = None
    objective: str | None = None
    conditional = False
    #: Whether a weight may have no part in the loss.
    _may_be_constant = False

    def __init__(
        self,
        network: keras.Model,
        *,
        preprocessor: keras.layers.Layer | None = None,
        data_stddev: float = 0.0,
        class_names: Iterable[str] | None = None,
        temperature: float = 1.0,
        lapse_rate: float = 0.0,
        class_offsets: Sequence[float] | None = None,
        seed: int = 0,
        trained_on: str | None = None,
        **kwargs,
    ):
        check_floatx()
        super().__init__(**kwargs)
        # Inputs come as they are: what Keras would cast to is the networks' business,
        # not that of a preprocessor of long numbers or of codes.
        self.autocast = False
        good = hasattr(network, "output_shape")
        check_part("network", network, good, "a Keras model")
        one_output = not isinstance(getattr(network, "output", None), dict | list)
        check_part("network", network, one_output, "a Keras model of one output")
        check_outputs(network)
        good = preprocessor is None or callable(preprocessor)
        check_part("preprocessor", preprocessor, good, "a Keras layer or None")
        self.network = network
        self.preprocessor = preprocessor
        self.data_stddev = check_positive("data_stddev", data_stddev, zero_allowed=True)
        self.class_names = self._check_class_names(class_names)
        self._add_calibration(temperature, lapse_rate, class_offsets)
        self.seed = check_integer("seed", seed)
        self.trained_on = trained_on
        self.to_energy = LogitEnergy()
        self._add_trackers("loss", "data_energy")
        # The parts are built already, and train_step never calls the model:
        # without this, saving and exporting take it for an unbuilt one.
        self.built = True

    @property
    def num_classes(self) -> int:
        """Number of logits; 1 means a density without classes."""
        return self.network.output_shape[-1]

    @property
    def label_size(self) -> int:
        """Numbers of a label that is a vector, of a `VectorConditional`; else 0."""
        return getattr(self.network, "label_size", 0)

    def check_labels(self, y: Any, num_rows: int | None):
        """Labels that each of so many rows needs: of classes, or vectors of numbers.

        Raises:
            ValueError: if they have another shape or are no labels of the network.
        """
        if self.label_size:
            return check_vectors(y, self.label_size, num_rows)
        return check_labels(y, self.num_classes, num_rows)

    @property
    def can_sample(self) -> bool:
        """Whether there is a method `sample(num_samples, seed)` that needs no data."""
        return False

    def _check_class_names(self, class_names):
        names = check_names("class_names", class_names)
        if names and len(names) != self.num_classes:
            raise ValueError(
                "`class_names` must name each logit of `network`. Received: "
                f"{len(names)} names for {self.num_classes} logits."
            )
        return names

    def call(self, inputs, training=False):
        return self.network(self.preprocess(inputs), training=training)

    def logits(self, x: tf.Tensor):
        """Logits of raw inputs, `(batch, K)`."""
        return self(self.as_inputs(x), training=False)

    def energy(self, x: tf.Tensor, y: tf.Tensor | None = None):
        """Energies of raw inputs in nats, `(batch,)`; low means likely.

        Args:
            x: raw inputs.
            y: optional integer labels `(batch,)`; then `E(x, y) = -f(x)[y]`. Of a
                `VectorConditional` vectors `(batch, D)`, which it needs.

        Raises:
            ValueError: if `y` has another shape or a label is no class. Labels of a
                graph are not looked at.
        """
        if self.label_size:
            x = self.preprocess(self.as_inputs(x))
            return -self.network.class_logits(x, self.check_labels(y, x.shape[0]))
        logits = self.logits(x)
        if y is None:
            return self.to_energy(logits)
        y = check_labels(y, self.num_classes, logits.shape[0])
        return -tf.gather(logits, tf.cast(y, tf.int32), batch_dims=1)

    def log_prob(self, x: tf.Tensor):
        """`log p` of the preprocessed form of raw inputs, `(batch,)` nats.

        The change of volume by the preprocessor is not in it: after dividing
        by `s`, add `-log s` of every entry for the density of raw inputs.

        Raises:
            ValueError: if the network is not normalised.
        """
        if not self.is_normalised:
            raise ValueError(
                "`log_prob` needs a normalised network, such as "
                f"keras_ebm.networks.NICE. Received: network={self.network.name!r}; "
                "estimate log Z with keras_ebm.samplers.annealed_importance."
            )
        return self.network.log_prob(self.preprocess(x))

    @property
    def is_normalised(self) -> bool:
        """Whether `Z = 1`, as the network's method `log_prob` says."""
        return hasattr(self.network, "log_prob")

    def inputs_energy(self, x: tf.Tensor):
        """Energies of preprocessed inputs, as samplers see them, `(batch,)` nats."""
        return self.to_energy(self.network(x, training=False))

    def energy_fn(self, labels: tf.Tensor | None = None):
        """The energy as a function of preprocessed inputs alone.

        Args:
            labels: `(batch,)` integers, whose energies `E(x, y)` these are then, or
                vectors `(batch, D)` of a `VectorConditional`.
        """
        if labels is None:
            return self.inputs_energy
        return lambda x: self.class_energy(x, labels)

    def class_energy(self, x: tf.Tensor, y: tf.Tensor, training: bool = False):
        """`E(x, y)` of preprocessed inputs with their labels, `(batch,)` nats."""
        if hasattr(self.network, "class_logits"):
            return -self.network.class_logits(x, y, training=training)
        logits = tf.cast(self.network(x, training=training), tf.float32)
        return -tf.gather(logits, tf.cast(y, tf.int32), batch_dims=1)

    def behind(self, body: keras.Model) -> BaseEnergyModel:
        """This model for the raw inputs of a body whose features it was trained on.

        Args:
            body: functional model from raw inputs to what this model takes raw; see
                `keras_ebm.networks.split`. It is no longer trained, and saved and
                exported with the model.

        Returns:
            A model of the same class, with the same parts and weights, not compiled.

        Raises:
            ValueError: if the body's features have another shape.
        """
        taken = tuple(self.raw_spec().shape[1:])
        good = is_functional(body) and len(body.outputs) == 1
        if not good or tuple(body.outputs[0].shape[1:]) != taken:
            raise ValueError(
                f"`body` must be a functional model to features of shape {taken}. "
                f"Received: {getattr(body, 'output_shape', body)!r}."
            )
        if self.preprocessor is not None:
            features = self.preprocessor(body.outputs[0])
            body = keras.Model(input_struct(body), features, name=body.name)
        body.trainable = False
        arguments = {
            name: getattr(self, name) for name in (*self._values, *self._parts)
        }
        return type(self)(**{**arguments, "preprocessor": body})

    # Training

    def named_optimizers(self) -> dict:
        """Keras optimizers by the names of `compile`'s arguments."""
        return {"optimizer": self.optimizer}

    def begin_step(self, data: Any) -> Batch:
        """What every training step starts with.

        Spectral norms are brought up to date, once for all passes of the step, and so
        are the seeds of dropout.
        """
        x, y, views = unpack_views(
            data, self.preprocess, self.num_classes, self.label_size
        )
        random = StepRandom(self.seed, self.optimizer.iterations)
        update_spectral_norms(self.network)
        reseed(self.network, random)
        return Batch(self.add_data_noise(x, random), y, random, **views)

    def add_data_noise(self, x: tf.Tensor, random: RandomDraws):
        """Adds the Gaussian noise of `data_stddev` to preprocessed data."""
        if not self.data_stddev:
            return x
        check_float_input(self.network, f"data_stddev={self.data_stddev}")
        return x + self.data_stddev * random.normal(tf.shape(x), "data")

    def draw_step(self, batch: Batch) -> Drawn:
        """What the step sets the data against."""
        del batch
        return Drawn()

    def step_loss(self, batch: Batch, drawn: Drawn):
        """Loss of the energy network in training, a scalar, and its terms by name."""
        raise NotImplementedError

    def sample_slope(self, logs: dict) -> tf.Tensor:
        """Slope of the loss in the energy of each of the sampler's own negatives."""
        raise NotImplementedError

    def uncounted_gradient(self, samples: tf.Tensor) -> tuple | None:
        """`dE/dx` at the sampler's negatives while the loss leaves them out.

        The loss's own gradient says nothing of it then.

        Returns:
            `(left_out, gradient)`: whether this is such a step, a scalar bool, and the
            gradient, else 0; None where no step is.
        """
        del samples
        return None

    def test_loss(self, batch: Batch):
        """As `step_loss`, outside of training; the loss may be None."""
        raise NotImplementedError

    def follow(self, batch: Batch, drawn: Drawn, step: EnergyStep) -> dict:
        """What follows the energy's update, and its logs."""
        del batch, drawn, step
        return {}

    def descend_energy(self, batch: Batch, drawn: Drawn) -> EnergyStep:
        """One update of the energy network."""
        variables = self.network.trainable_variables
        sources = [] if drawn.samples is None else [drawn.samples]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([*(variable.value for variable in variables), *sources])
            loss, logs = self.step_loss(batch, drawn)
        # Before the update, with which the step's number moves on.
        slope = self.sample_slope(logs) if sources else None
        uncounted = self.uncounted_gradient(sources[0]) if sources else None
        with tf.control_dependencies([] if uncounted is None else uncounted[1:]):
            gradients, factor = descend(
                tape, loss, variables, self.optimizer, sources, self._may_be_constant
            )
        logs.setdefault("loss", loss)
        if not gradients:
            return EnergyStep(logs, None)
        slope = tf.reshape(factor * slope, [-1, *[1] * (gradients[0].shape.rank - 1)])
        if uncounted is None:
            return EnergyStep(logs, gradients[0] / slope)
        left_out, gradient = uncounted
        counted = gradients[0] / tf.where(left_out, tf.ones_like(slope), slope)
        return EnergyStep(logs, tf.where(left_out, gradient, counted))

    def train_step(self, data):
        batch = self.begin_step(data)
        drawn = self.draw_step(batch)
        step = self.descend_energy(batch, drawn)
        logs = {**drawn.logs, **step.logs, **self.follow(batch, drawn, step)}
        return self.report(logs, batch.x)

    def test_step(self, data):
        x, y, weights = unpack(data, self.preprocess, self.num_classes, self.label_size)
        random = StepRandom(self.seed, 0)
        loss, logs = self.test_loss(Batch(x, y, random, weights=weights))
        if loss is not None:
            logs.setdefault("loss", loss)
        return self.report(logs, x)


def check_part(name: str, value: Any, good: bool, rule: str) -> None:
    """Raises ValueError for a part that is none of its kind, such as its name."""
    if not good:
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={value!r}.")


def check_outputs(network: keras.Model) -> None:
    """Raises ValueError for a network of probabilities, or of a fixed batch.

    Taken for logits, probabilities would give energies that hardly differ.
    """
    if not is_functional(network) or len(network.outputs) != 1:
        return
    remedy = "pass it through keras_ebm.networks.from_classifier"
    activation = last_activation(network)
    if activation in ("softmax", "sigmoid"):
        raise ValueError(
            f"`network` must give logits. Received: {network.name!r}, which ends in a "
            f"{activation}; {remedy}, which takes it off."
        )
    sizes = [tuple(x.shape)[0] for x in network.inputs]
    if any(size is not None for size in sizes):
        raise ValueError(
            "`network` must take batches of any size. Received: "
            f"{network.name!r}, which was built by one of {sizes[0]} rows; {remedy}."
        )


def check_float_input(network: keras.Model, what: str) -> None:
    """Raises ValueError unless a network takes one tensor of floats.

    Args:
        network: Keras model.
        what: moves through that input, for the error.
    """
    if not is_functional(network):
        return
    types = [keras.backend.standardize_dtype(x.dtype) for x in network.inputs]
    if len(types) > 1 or "float" not in types[0]:
        raise ValueError(
            f"`{what}` needs a network of one input of floats. Received: "
            f"{network.name!r}, whose inputs are {', '.join(types)}; train the head on "
            "the features of a body, see keras_ebm.networks.split, or against "
            "negatives=CutJoin(), which takes inputs as they are."
        )
