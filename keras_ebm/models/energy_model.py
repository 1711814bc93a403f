"""The base of every model here: an energy network trained by `fit`."""

import warnings
from typing import NamedTuple

import keras
import tensorflow as tf
from keras import ops

from keras_ebm import objectives
from keras_ebm.arguments import (
    check_choice,
    check_floatx,
    check_integer,
    check_names,
    check_positive,
)
from keras_ebm.gradients import energy_and_gradient
from keras_ebm.layers.logit_energy import LogitEnergy
from keras_ebm.layers.spectral_norm import update_spectral_norms
from keras_ebm.models.label_checks import check_array, check_batch, check_labels
from keras_ebm.models.loss_scaling import with_loss_scale
from keras_ebm.models.probabilities import GivesProbabilities
from keras_ebm.models.raw_inputs import TakesRawInputs
from keras_ebm.models.reporting import ReportsMeans
from keras_ebm.models.saving import SavesParts
from keras_ebm.models.updating import update
from keras_ebm.negatives import MarkovChains
from keras_ebm.random import StepRandom, replica_context, reseed


def _check_parts(network, preprocessor, negatives, semi_supervised) -> None:
    """Raises ValueError for a part that is none of its kind, such as its name."""
    terms = objectives.SemiSupervised
    callables = preprocessor is None or callable(preprocessor)
    rules = (
        ("network", network, hasattr(network, "output_shape"), "a Keras model"),
        ("preprocessor", preprocessor, callables, "a Keras layer or None"),
        (
            "negatives",
            negatives,
            negatives is None
            or callable(negatives)
            or isinstance(negatives, MarkovChains),
            "a callable (x, random), MarkovChains or None",
        ),
        (
            "semi_supervised",
            semi_supervised,
            semi_supervised is None or isinstance(semi_supervised, terms),
            "keras_ebm.objectives.SemiSupervised or None",
        ),
    )
    for name, value, good, rule in rules:
        if not good:
            raise ValueError(f"`{name}` must be {rule}. Received: {name}={value!r}.")


class EnergyStep(NamedTuple):
    """What one descent of the energy leaves for the sampler's turn.

    `sample_gradient` is `dE/dx` at the sampler's own negatives, read off the
    energy's backward pass; None where there are none.
    """

    logs: dict
    sample_gradient: tf.Tensor | None


@keras.saving.register_keras_serializable(package="keras_ebm")
class EnergyModel(
    SavesParts, ReportsMeans, GivesProbabilities, TakesRawInputs, keras.Model
):
    """An energy-based model `p(x) = exp(-E(x)) / Z`, and a classifier if K > 1.

    `E(x) = -logsumexp_y f(x)[y]` for the logits `f` of `network`. One step
    descends

        classification_weight * CE(p(y|x), y)            labelled rows
        + ramp * (conditional_entropy_weight * H(p(y|x)) unlabelled rows
                  + semi_supervised terms
                  + energy_weight * (objective(E(x), E(x_neg))
                                     + gradient_penalty * mean 0.5 ||dE/dx||^2))

    where `ramp` rises from 0 to 1 over the first `ramp_steps` steps.

    This class takes its negatives from the batch or from Markov chains
    (`negatives`), or has none and is then a plain classifier; subclasses bring
    a generator.

    Args:
        network: Keras model from preprocessed inputs to logits of shape
            `(batch, K)`; `K = 1` is a plain density. Without batch
            normalisation.
        preprocessor: Keras layer from raw inputs (uint8 images, table rows)
            to what `network` takes, adapted beforehand; it is part of the
            saved model. None: inputs are taken as they are.
        negatives: callable `(x, random) -> x_neg` on preprocessed batches,
            such as `keras_ebm.negatives.CutAndBlend()`, or
            `keras_ebm.negatives.MarkovChains`, or None.
        objective: `"contrastive"` (the papers'; a likelihood), `"logistic"` (a
            density ratio, bounded, kind to accuracy), or for chains IGEBM's
            `"logsumexp"` or `"softplus"`.
        energy_weight: float >= 0. For the logistic objective 0.03 to 0.1 was
            good beside a cross-entropy of weight 1.
        classification_weight: float >= 0, `alpha` in the paper.
        conditional_entropy_weight: float >= 0, `beta` in the paper.
        gradient_penalty: float >= 0, `gamma` in the paper; costs a double
            backpropagation when above 0. Without negatives it is all that
            `energy_weight` weighs.
        semi_supervised: `keras_ebm.objectives.SemiSupervised`, further terms on
            rows without labels, or None.
        ramp_steps: int >= 0.
        data_stddev: float >= 0, Gaussian noise added to preprocessed data in
            training, in its units.
        class_names: K strings, kept for serving; optional.
        temperature: float > 0 that `probabilities` divides logits by; see
            `fit_temperature`.
        lapse_rate: float in [0, 1), share of an even guess in `probabilities`.
        seed: int, keys every random draw together with the iteration.
        trained_on: string that names the split that the model was trained on, such as
            `keras_ebm.data.split_digest` gives; kept for the programs, or None.
        **kwargs: forwarded to `keras.Model`.

    Call arguments:
        inputs: raw inputs.

    Returns:
        Logits of shape `(batch, K)`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Grathwohl et al. (2020), https://arxiv.org/abs/1912.03263.
        - Grathwohl et al. (2021), https://arxiv.org/abs/2010.04230.
    """

    _parts = ("network", "preprocessor", "negatives", "semi_supervised")
    _values = (
        "objective",
        "energy_weight",
        "classification_weight",
        "conditional_entropy_weight",
        "gradient_penalty",
        "ramp_steps",
        "data_stddev",
        "class_names",
        "temperature",
        "lapse_rate",
        "seed",
        "trained_on",
    )
    #: Those of `_values` that no compiled step reads as a constant.
    _read_anew = ("temperature", "lapse_rate", "class_names", "trained_on")

    def __init__(
        self,
        network: keras.Model,
        *,
        preprocessor: keras.layers.Layer | None = None,
        negatives=None,
        objective: str = "contrastive",
        energy_weight: float = 1.0,
        classification_weight: float = 1.0,
        conditional_entropy_weight: float = 0.0,
        gradient_penalty: float = 0.0,
        semi_supervised: objectives.SemiSupervised | None = None,
        ramp_steps: int = 0,
        data_stddev: float = 0.0,
        class_names=None,
        temperature: float = 1.0,
        lapse_rate: float = 0.0,
        seed: int = 0,
        trained_on: str | None = None,
        **kwargs,
    ):
        check_floatx()
        super().__init__(**kwargs)
        # Inputs come as they are: what Keras would cast to is the networks' business,
        # not that of a preprocessor of long numbers or of codes.
        self.autocast = False
        self.network = network
        self.preprocessor = preprocessor
        _check_parts(network, preprocessor, negatives, semi_supervised)
        self.negatives = negatives
        self.objective = check_choice("objective", objective, objectives.OBJECTIVES)
        weights = {
            "energy_weight": energy_weight,
            "classification_weight": classification_weight,
            "conditional_entropy_weight": conditional_entropy_weight,
            "gradient_penalty": gradient_penalty,
            "ramp_steps": ramp_steps,
            "data_stddev": data_stddev,
        }
        for name, value in weights.items():
            setattr(self, name, check_positive(name, value, zero_allowed=True))
        self.semi_supervised = semi_supervised
        self.class_names = self._check_class_names(class_names)
        self._add_calibration(temperature, lapse_rate)
        self.seed = check_integer("seed", seed)
        self.trained_on = trained_on
        self.to_energy = LogitEnergy()
        self._add_trackers("loss", "data_energy", "negative_energy")
        if self.gradient_penalty and self.energy_weight:
            self._add_trackers("gradient_penalty")
        self._add_trackers(*getattr(negatives, "log_names", ()))
        if self.num_classes > 1:
            self._add_trackers("accuracy", "cross_entropy", "conditional_entropy")
        if semi_supervised is not None:
            if self.num_classes < 2:
                raise ValueError(
                    "`semi_supervised` needs a network with classes. Received: "
                    f"{self.num_classes} output."
                )
            self._add_trackers(*semi_supervised.log_names)
        # The parts are built already, and train_step never calls the model:
        # without this, saving and exporting take it for an unbuilt one.
        self.built = True

    @property
    def num_classes(self) -> int:
        """Number of logits; 1 means a density without classes."""
        return self.network.output_shape[-1]

    def _check_class_names(self, class_names):
        names = check_names("class_names", class_names)
        if names and len(names) != self.num_classes:
            raise ValueError(
                "`class_names` must name each logit of `network`. Received: "
                f"{len(names)} names for {self.num_classes} logits."
            )
        return names

    # Calling

    def preprocess(self, x):
        """Raw inputs to the float32 inputs of `network`."""
        if self.preprocessor is not None:
            x = self.preprocessor(x)
        return ops.cast(x, "float32")

    def call(self, inputs, training=False):
        return self.network(self.preprocess(inputs), training=training)

    def logits(self, x):
        """Logits of raw inputs, `(batch, K)`."""
        return self(x, training=False)

    def energy(self, x, y=None):
        """Energies of raw inputs in nats, `(batch,)`; low means likely.

        Args:
            x: raw inputs.
            y: optional integer labels `(batch,)`; then `E(x, y) = -f(x)[y]`.

        Raises:
            ValueError: if `y` has another shape or a label is no class. Labels of a
                graph are not looked at.
        """
        logits = self.logits(x)
        if y is None:
            return self.to_energy(logits)
        y = check_labels(y, self.num_classes, logits.shape[0])
        return -tf.gather(logits, tf.cast(y, tf.int32), batch_dims=1)

    def log_prob(self, x):
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

    # Training

    def compile(self, optimizer="adam", jit_compile=False, **kwargs):
        """Configures training.

        Args:
            optimizer: Keras optimizer of the energy network.
            jit_compile: bool, compiles the step by XLA: no gain on CPUs, but
                several times as fast on GPUs. For one replica only.
            **kwargs: `run_eagerly`, `steps_per_execution`. Losses and metrics
                are the model's own and cannot be passed.

        Raises:
            ValueError: if a loss or a metric is passed, or `jit_compile` under a
                strategy of several replicas.
        """
        for name in ("loss", "metrics", "weighted_metrics", "loss_weights"):
            if kwargs.get(name) is not None:
                raise ValueError(
                    f"`{name}` cannot be set: the losses and metrics of "
                    f"{type(self).__name__} are its own. Received: "
                    f"{name}={kwargs[name]!r}; add other measures as callbacks."
                )
        replicas = self.distribute_strategy.num_replicas_in_sync
        if jit_compile and replicas > 1:
            raise ValueError(
                "`jit_compile` must be False under a strategy of several replicas, "
                "whose gradients XLA cannot add up. Received: "
                f"jit_compile={jit_compile!r} for {replicas} replicas."
            )
        optimizer = with_loss_scale(optimizer, self.network)
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        # Built here, not inside the compiled step: lazily built optimizers
        # fail under strategies and lose their state on a resume.
        self.optimizer.build(self.network.trainable_variables)

    def fit(self, x=None, y=None, *args, validation_data=None, **kwargs):
        """Trains as Keras's `fit` does, with labels that are numbers of classes.

        Args:
            x: raw inputs, or batches `(x, y)`, of which `y` may be absent.
            y: labels `(n,)` from 0 to `num_classes - 1`; -1, and NaN or NA among
                floats and objects, mean unlabelled.
            *args: further arguments of Keras's `fit`, as are `validation_data` and
                `kwargs`.

        Raises:
            ValueError: if a label in an array is another one, or an array of inputs
                is not finite. In batches such a label is a
                `tf.errors.InvalidArgumentError` of its step.
        """
        self.check_finite(x)
        if isinstance(validation_data, tuple) and len(validation_data) > 1:
            inputs, labels, *rest = validation_data
            self.check_finite(inputs)
            labels = check_array(labels, self.num_classes)
            validation_data = (inputs, labels, *rest)
        y = check_array(y, self.num_classes)
        return super().fit(x, y, *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """Measures as Keras's `evaluate` does; for labels see `fit`.

        Without a labelled row `accuracy` and `cross_entropy` are NaN, and a
        `UserWarning` says so.
        """
        y = check_array(y, self.num_classes)
        results = super().evaluate(x, y, *args, **kwargs)
        # Not after every epoch of `fit`, which asks with an iterator of its own.
        if self.has_no_labels() and "_use_cached_eval_dataset" not in kwargs:
            warnings.warn(
                "`evaluate`: no row has a label, so that there is no accuracy and no "
                "cross-entropy: both are NaN",
                stacklevel=2,
            )
        return results

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name in self._values and name not in self._read_anew:
            self._trace_again()

    def _trace_again(self) -> None:
        """Has compiled steps read the settings anew, which are constants in them."""
        for step in ("train", "test", "predict"):
            if getattr(self, f"{step}_function", None) is not None:
                getattr(self, f"make_{step}_function")(force=True)

    def _optimizers(self):
        return {"optimizer": self.optimizer}

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Every part is built; the hook fails on uneven shards of a strategy.
        pass

    def _unpack(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if sample_weight is not None:
            raise ValueError(
                "`sample_weight` and `class_weight` are not supported. Mark rows "
                "whose label should not count with -1 instead."
            )
        x = self.preprocess(x)
        if y is None:
            return x, -tf.ones([tf.shape(x)[0]], tf.int32)
        y = tf.convert_to_tensor(y)
        if y.shape.rank not in (None, 1) and tuple(y.shape[1:]) != (1,):
            raise ValueError(
                "`y` must hold the number of a class for each row, or -1. Received: "
                f"shape {tuple(y.shape)}; of one-hot rows take y.argmax(axis=-1)."
            )
        return x, tf.reshape(check_batch(y, self.num_classes), [-1])

    def draw_negatives(self, x, random, training=False):
        """Negatives that need no gradient.

        Args:
            x: preprocessed data `(batch, ...)`.
            random: `keras_ebm.random.StepRandom`.
            training: bool; only then do Markov chains move on. Otherwise they
                have no negatives to give.

        Returns:
            `(negatives, logs)`: a list of at most one batch `(n, ...)`, and
            scalars by name.
        """
        if self.negatives is None:
            return [], {}
        if isinstance(self.negatives, MarkovChains):
            if not training:
                return [], {}
            made = self.negatives.advance(self._network_energy, x, random)
            return [made.x], made.logs
        return [tf.stop_gradient(self.negatives(x, random))], {}

    def _network_energy(self, x):
        """Energies of preprocessed inputs, as samplers see them."""
        return self.to_energy(self.network(x, training=False))

    def energy_loss(
        self,
        x,
        y,
        negatives,
        training=False,
        weights=None,
        class_x=None,
        class_y=None,
        random=None,
    ):
        """The energy network's loss; see the class docstring.

        Args:
            x: preprocessed data `(batch, ...)`.
            y: labels `(batch,)`, -1 unlabelled.
            negatives: list of preprocessed batches of negatives; may be empty.
            training: bool; only then are the gradient penalty and the terms of
                `semi_supervised` added, and the ramp looked at.
            weights: of the negatives, summing to 1, or None for equal ones; for
                the contrastive objective.
            class_x: what the cross-entropy sees, such as an augmented view of the
                same rows or rows of its own; None: `x`.
            class_y: its labels; None: `y`.
            random: `StepRandom` of the terms of `semi_supervised`.

        Returns:
            `(loss, logs)`: a scalar and the terms by name; `negative_energies`
            among them holds one tensor for each batch of negatives, and
            `loss_parts` is a list of `(value, rows)`: terms of the loss that are
            means over others than all rows, which an epoch's loss weighs by them.
        """
        logs = {}
        network = self.network
        if training and self.gradient_penalty and self.energy_weight:
            logits, energy, gradient = self._logits_with_gradient(x)
            logs["gradient_penalty"] = objectives.gradient_penalty(gradient)
        else:
            logits = tf.cast(network(x, training=training), tf.float32)
            energy = self.to_energy(logits)
        logs["data_energy"] = energy
        labelled, loss, share = 0.0, 0.0, self.ramp(training)
        if self.num_classes > 1:
            class_logits = logits
            if class_x is not None:
                class_logits = tf.cast(network(class_x, training=training), tf.float32)
            labelled = self._class_loss(
                class_logits, y if class_y is None else class_y, logs
            )
            loss = self._unlabelled_loss(
                x, logits, y, logs, random if training else None, share
            )
        if negatives:
            logs["negative_energies"] = [
                self.to_energy(network(batch, training=training)) for batch in negatives
            ]
            logs["negative_energy"] = tf.concat(logs["negative_energies"], axis=0)
            loss += self.energy_weight * objectives.OBJECTIVES[self.objective](
                energy,
                logs["negative_energy"],
                **({} if weights is None else {"weights": weights}),
            )
        penalty = self.gradient_penalty * logs.get("gradient_penalty", 0.0)
        loss += self.energy_weight * penalty
        return labelled + share * loss, logs

    def ramp(self, training=True):
        """Share, in (0, 1], at which all but the cross-entropy counts by now."""
        if not (training and self.ramp_steps):
            return 1.0
        step = tf.cast(self.optimizer.iterations, tf.float32) + 1.0
        return tf.minimum(1.0, step / self.ramp_steps)

    def _logits_with_gradient(self, x):
        store = {}

        def energy_fn(inputs):
            store["logits"] = tf.cast(self.network(inputs, training=True), tf.float32)
            return self.to_energy(store["logits"])

        energy, gradient = energy_and_gradient(energy_fn, x)
        return store["logits"], energy, gradient

    def _class_loss(self, logits, y, logs):
        labelled = y >= 0
        values = objectives.cross_entropy(logits, y)
        correct = tf.cast(
            tf.argmax(logits, axis=-1, output_type=tf.int32) == y, "float32"
        )
        logs["accuracy"] = (correct, labelled)
        logs["cross_entropy"] = (values, labelled)
        term = self.classification_weight * objectives.mean_over(values, labelled)
        _count_part(logs, term, objectives.count_over(labelled))
        return term

    def _unlabelled_loss(self, x, logits, y, logs, random, share=1.0):
        """Terms on the rows without labels; those of `semi_supervised` by `random`.

        `share` is what they are multiplied with in the loss.
        """
        entropy = objectives.conditional_entropy(logits)
        logs["conditional_entropy"] = entropy
        loss = 0.0
        if self.conditional_entropy_weight:
            unlabelled = objectives.mean_over(entropy, y < 0)
            term = self.conditional_entropy_weight * unlabelled
            _count_part(logs, share * term, objectives.count_over(y < 0))
            loss += term
        if self.semi_supervised is not None and random is not None:
            terms, term_logs = self.semi_supervised.loss(
                self._plain_logits, x, logits, y < 0, random
            )
            loss += terms
            for term, rows in term_logs.pop("loss_parts"):
                _count_part(logs, share * term, rows)
            logs |= term_logs
        return loss

    def _plain_logits(self, x):
        """Logits of preprocessed inputs without dropout."""
        return tf.cast(self.network(x, training=False), tf.float32)

    def descend_energy(
        self, x, y, samples=None, negatives=(), extra_loss=None, **arguments
    ) -> EnergyStep:
        """One update of the energy network.

        Args:
            x: preprocessed data.
            y: labels, -1 unlabelled.
            samples: the sampler's own negatives, where `dE/dx` is wanted.
            negatives: further batches of negatives.
            extra_loss: callable `() -> (loss, logs)` of what is added to the loss.
            **arguments: further ones of `energy_loss`, such as `weights`.
        """
        _, num_replicas = replica_context()
        variables = self.network.trainable_variables
        watched = [variable.value for variable in variables]
        sources = [] if samples is None else [samples]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([*watched, *sources])
            loss, logs = self.energy_loss(
                x, y, [*sources, *negatives], training=True, **arguments
            )
            if extra_loss is not None:
                extra, extra_logs = extra_loss()
                loss += extra
                logs |= extra_logs
            # `apply` sums over replicas; `factor` makes that a mean, and
            # carries the loss scale of half precision.
            factor = self.optimizer.scale_loss(tf.constant(1.0 / num_replicas))
            scaled = loss * factor
        gradients = tape.gradient(scaled, watched + sources)
        sample_gradient = None
        if samples is not None:
            sample_gradient = self._energy_gradient(gradients.pop(), logs, factor)
        update(self.optimizer, gradients, variables, loss)
        logs["loss"] = loss
        return EnergyStep(logs, sample_gradient)

    def _energy_gradient(self, gradient, logs, factor):
        """`dE/dx` at the samples from the loss's gradient there."""
        energies = logs["negative_energies"][0]
        total = tf.cast(tf.shape(logs["negative_energy"])[0], tf.float32)
        slope = objectives.negative_slope(self.objective, energies)
        slope = -factor * self.ramp() * self.energy_weight * slope / total
        return gradient / tf.reshape(slope, [-1, *[1] * (len(gradient.shape) - 1)])

    def begin_step(self, data):
        """What every training step starts with.

        Returns:
            `(x, y, random, views)`: preprocessed data with its noise, labels with
            -1 for unlabelled, the step's `StepRandom`, and further arguments of
            `energy_loss`: `class_x` and `class_y` where the cross-entropy has rows
            of its own, `random` where something draws by it. Spectral norms are
            brought up to date, once for all passes of the step, and so are the
            seeds of dropout.
        """
        x, y, views = self._unpack_views(data)
        random = StepRandom(self.seed, self.optimizer.iterations)
        if self.semi_supervised is not None:
            views["random"] = random
        update_spectral_norms(self.network)
        reseed(self.network, random)
        return self.add_data_noise(x, random), y, random, views

    def _unpack_views(self, data):
        """Data, labels, and the rows of the classifier, if those are others."""
        inputs, *labels = data if isinstance(data, tuple) else (data,)
        if not isinstance(inputs, tuple):
            return *self._unpack(data), {}
        shown, inputs = inputs
        if not labels or not isinstance(labels[0], tuple):
            x, y = self._unpack((inputs, *labels))
            return x, y, {"class_x": self.preprocess(shown)}
        shown_labels, own_labels = labels[0]
        class_x, class_y = self._unpack((shown, shown_labels))
        x, y = self._unpack((inputs, own_labels))
        return x, y, {"class_x": class_x, "class_y": class_y}

    def train_step(self, data):
        x, y, random, views = self.begin_step(data)
        negatives, logs = self.draw_negatives(x, random, training=True)
        step = self.descend_energy(x, y, negatives=negatives, **views)
        return self.report({**logs, **step.logs}, x)

    def add_data_noise(self, x, random):
        """Adds the Gaussian noise of `data_stddev` to preprocessed data."""
        if not self.data_stddev:
            return x
        return x + self.data_stddev * random.normal(tf.shape(x), "data")

    def test_step(self, data):
        x, y = self._unpack(data)
        random = StepRandom(self.seed, 0)
        negatives, _ = self.draw_negatives(x, random)
        loss, logs = self.energy_loss(x, y, negatives)
        return self.report({**logs, "loss": loss}, x)


def _count_part(logs, term, rows) -> None:
    """Notes a term of the loss that is a mean over so many rows."""
    logs.setdefault("loss_parts", []).append((term, rows))
