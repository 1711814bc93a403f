"""Energies trained against negatives, and classifiers with them."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_ebm import objectives
from keras_ebm.arguments import check_choice, check_integer, check_positive
from keras_ebm.gradients import energy_and_gradient
from keras_ebm.models.base import (
    BaseEnergyModel,
    Batch,
    Drawn,
    check_float_input,
    check_part,
)
from keras_ebm.models.sampling import SamplesByChains
from keras_ebm.models.statistics import kept_statistics
from keras_ebm.negatives import NegativeSource, as_source, computed_codes
from keras_ebm.negatives.reach import Reach, check_reaches, some_rows
from keras_ebm.networks.graphs import codes_of
from keras_ebm.protocols import RandomDraws
from keras_ebm.robust import Adversarial


@keras.saving.register_keras_serializable(package="keras_ebm")
class EnergyModel(SamplesByChains, BaseEnergyModel):
    """An energy-based model `p(x) = exp(-E(x)) / Z`, and a classifier if K > 1.

    `E(x) = -logsumexp_y f(x)[y]` for the logits `f` of `network`. One step
    descends

        classification_weight * CE(p(y|x), y)            labelled rows
        + ramp * (conditional_entropy_weight * H(p(y|x)) unlabelled rows
                  + semi_supervised terms
                  + energy_weight * (objective(E(x), E(x_neg))
                                     + gradient_penalty * mean 0.5 ||dE/dx||^2))

    where `ramp` is 0 in the first `plain_steps` steps, and then rises from 0 to 1 over
    `ramp_steps` steps.

    This class takes its negatives from the batch or from Markov chains
    (`negatives`), or has none and is then a plain classifier; subclasses bring
    a generator.

    Args:
        network: Keras model from preprocessed inputs to logits of shape
            `(batch, K)`; `K = 1` is a plain density. Batch normalisation
            that is trained normalises data and negatives each by their own
            batch, and data alone enter its moving statistics; freeze it for
            energies of single rows (`networks.from_classifier` does).
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
        adversarial: `keras_ebm.robust.Adversarial`: the cross-entropy sees its attacked
            rows in place of the given ones (adversarial training), and so do the
            accuracy and cross-entropy that training reports. Only with classes and a
            `classification_weight` above 0. None: rows as they are.
        ramp_steps: int >= 0.
        plain_steps: int >= 0, steps of the cross-entropy alone that the training begins
            with, as a plain classifier's. Negatives are drawn, chains walk and a
            generator learns in them too, after the classifier's energy. Above 0 only
            with classes and a `classification_weight` above 0.
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

    objective: str
    _parts: tuple[str, ...] = (
        "network",
        "preprocessor",
        "negatives",
        "semi_supervised",
        "adversarial",
    )
    _values: tuple[str, ...] = (
        "objective",
        "energy_weight",
        "classification_weight",
        "conditional_entropy_weight",
        "gradient_penalty",
        "ramp_steps",
        "plain_steps",
        "data_stddev",
        "class_names",
        "temperature",
        "lapse_rate",
        "class_offsets",
        "seed",
        "trained_on",
    )

    def __init__(
        self,
        network: keras.Model,
        *,
        negatives: NegativeSource | Callable | None = None,
        objective: str = "contrastive",
        energy_weight: float = 1.0,
        classification_weight: float = 1.0,
        conditional_entropy_weight: float = 0.0,
        gradient_penalty: float = 0.0,
        semi_supervised: objectives.SemiSupervised | None = None,
        adversarial: Adversarial | None = None,
        ramp_steps: int = 0,
        plain_steps: int = 0,
        **kwargs,
    ):
        super().__init__(network, **kwargs)
        source = as_source(negatives)
        self.negatives = negatives
        self.objective = check_choice("objective", objective, objectives.OBJECTIVES)
        weights = {
            "energy_weight": energy_weight,
            "classification_weight": classification_weight,
            "conditional_entropy_weight": conditional_entropy_weight,
            "gradient_penalty": gradient_penalty,
            "ramp_steps": ramp_steps,
        }
        for name, value in weights.items():
            setattr(self, name, check_positive(name, value, zero_allowed=True))
        self.set_plain_steps(plain_steps)
        terms = semi_supervised
        known = terms is None or isinstance(terms, objectives.SemiSupervised)
        rule = "keras_ebm.objectives.SemiSupervised or None"
        check_part("semi_supervised", terms, known, rule)
        self.semi_supervised = semi_supervised
        self.adversarial = self._checked_adversarial(adversarial)
        self._check_computed(source)
        self._add_trackers("negative_energy")
        if self.gradient_penalty and self.energy_weight:
            check_float_input(network, f"gradient_penalty={gradient_penalty}")
            self._add_trackers("gradient_penalty")
        if source is not None:
            self._add_trackers(*source.log_names)
        if self.num_classes > 1:
            self._add_trackers("accuracy", "cross_entropy", "conditional_entropy")
        if semi_supervised is not None:
            if self.num_classes < 2:
                raise ValueError(
                    "`semi_supervised` needs a network with classes. Received: "
                    f"{self.num_classes} output."
                )
            self._add_trackers(*semi_supervised.log_names)

    def set_plain_steps(self, steps: int) -> None:
        """Sets `plain_steps`, before `compile`, where the length of a run tells it.

        Args:
            steps: int >= 0.

        Raises:
            ValueError: if it is another number, or there would be nothing to learn.
        """
        check_positive(
            "plain_steps", check_integer("plain_steps", steps), zero_allowed=True
        )
        learns = self.num_classes > 1 and self.classification_weight > 0
        if steps and (not learns or self.conditional):
            raise ValueError(
                "`plain_steps` are of the cross-entropy alone: they need classes, "
                "classification_weight above 0, and not `conditional`. Received: "
                f"plain_steps={steps} for {self.num_classes} output(s), "
                f"classification_weight={self.classification_weight} and conditional="
                f"{self.conditional}; use plain_steps=0."
            )
        self.plain_steps = int(steps)

    def _checked_adversarial(self, adversarial):
        known = adversarial is None or isinstance(adversarial, Adversarial)
        rule = "keras_ebm.robust.Adversarial or None"
        check_part("adversarial", adversarial, known, rule)
        if adversarial and (self.num_classes < 2 or not self.classification_weight):
            raise ValueError(
                "`adversarial` is for the cross-entropy: it needs classes and "
                f"classification_weight above 0. Received: {self.num_classes} "
                f"output(s) and classification_weight={self.classification_weight}; "
                "leave it out."
            )
        return adversarial

    def _check_computed(self, source):
        """Raises ValueError if something would compute with codes, such as tokens."""
        terms = self.semi_supervised
        computed = {
            f"`negatives` {type(source).__name__}": source is not None
            and source.computes,
            "`data_stddev`": self.data_stddev,
            "`gradient_penalty`": self.gradient_penalty,
            "`semi_supervised`": terms is not None and terms.virtual_adversarial_weight,
            "`adversarial`": self.adversarial is not None,
        }
        computing = [name for name, value in computed.items() if value]
        found = codes_of(self.network) if computing else None
        if found:
            raise computed_codes(computing[0], found)
        for name in computing:
            check_float_input(self.network, name.replace("`", ""))

    def check_first_rows(self, x: Any) -> None:
        """Compares the range of the data with what negatives are bound to."""
        optimizer, reaches = getattr(self, "optimizer", None), self._reaches()
        if optimizer is None or optimizer.iterations.numpy() or not reaches:
            return
        rows = some_rows(x)
        if rows is not None:
            check_reaches(reaches, self.preprocess(rows))

    def _reaches(self) -> list[Reach]:
        source = self._source()
        return [] if source is None else source.reaches()

    def _source(self) -> NegativeSource | None:
        # No attribute: Keras saves the states of what attributes hold by their names.
        return as_source(self.negatives)

    def draw_negatives(self, x: tf.Tensor, random: RandomDraws, training: bool = False):
        """Negatives of `negatives`, which need no gradient.

        Args:
            x: preprocessed data `(batch, ...)`.
            random: `keras_ebm.random.StepRandom`.
            training: bool; only then do Markov chains move on. Otherwise they
                have no negatives to give.

        Returns:
            `(negatives, logs)`: a list of at most one batch `(n, ...)`, and
            scalars by name.
        """
        drawn = self.draw_own(x, random, training)
        return drawn.negatives, drawn.logs

    def draw_own(self, x: tf.Tensor, random: RandomDraws, training: bool) -> Drawn:
        """What `negatives` gives for preprocessed data, with its weights."""
        source = self._source()
        if source is None:
            return Drawn()
        made = source.draw(self.inputs_energy, x, random, training=training)
        if made is None:
            return Drawn()
        takes_weights = self.objective in objectives.WEIGHTED_OBJECTIVES
        if made.weights is not None and not takes_weights:
            raise ValueError(
                "`negatives` with weights need the contrastive or the logistic "
                f"objective. Received: {type(source).__name__} for a "
                f"{type(self).__name__} with objective={self.objective!r}; leave the "
                "weights out, such as by resampling."
            )
        return Drawn([made.x], weights=made.weights, logs=made.logs)

    def begin_step(self, data: Any) -> Batch:
        batch = super().begin_step(data)
        if self.adversarial is None:
            return batch
        shown = batch.x if batch.class_x is None else batch.class_x
        y = batch.y if batch.class_y is None else batch.class_y
        attacked = self.adversarial.rows(
            lambda x: self._train_logits(x, False), shown, y, batch.random
        )
        if batch.class_x is None:
            # The weights of rows that the classifier so far shared with the energy.
            batch = batch._replace(class_weights=batch.weights)
        return batch._replace(class_x=attacked)

    def draw_step(self, batch: Batch):
        return self.draw_own(batch.x, batch.random, training=True)

    def test_draw(self, batch: Batch) -> Drawn:
        """What data are set against outside of training; none that has to walk."""
        return self.draw_own(batch.x, batch.random, training=False)

    def step_loss(self, batch: Batch, drawn: Drawn):
        if drawn.samples is not None:
            drawn = with_samples(drawn.samples, drawn)
        return self.energy_loss(
            batch.x,
            batch.y,
            drawn.negatives,
            training=True,
            weights=drawn.weights,
            class_x=batch.class_x,
            class_y=batch.class_y,
            random=batch.random,
            labels=drawn.labels,
            sample_weight=batch.weights,
            class_sample_weight=batch.class_weights,
        )

    def test_loss(self, batch: Batch):
        drawn = self.test_draw(batch)
        loss, logs = self.energy_loss(
            batch.x,
            batch.y,
            drawn.negatives,
            weights=drawn.weights,
            sample_weight=batch.weights,
        )
        # Of a density without negatives nothing is left to measure.
        return loss if drawn.negatives or self.num_classes > 1 else None, logs

    def energy_loss(
        self,
        x: tf.Tensor,
        y: tf.Tensor,
        negatives: list,
        training: bool = False,
        weights: tf.Tensor | None = None,
        class_x: tf.Tensor | None = None,
        class_y: tf.Tensor | None = None,
        random: RandomDraws | None = None,
        labels: tuple | None = None,
        sample_weight: tf.Tensor | None = None,
        class_sample_weight: tf.Tensor | None = None,
    ):
        """The energy network's loss; see the class docstring.

        Args:
            x: preprocessed data `(batch, ...)`.
            y: labels `(batch,)`, -1 unlabelled.
            negatives: list of preprocessed batches of negatives; may be empty.
            training: bool; only then are the gradient penalty and the terms of
                `semi_supervised` added, and the ramp looked at.
            weights: of the negatives, summing to 1, or None for equal ones; for
                the contrastive and logistic objectives.
            class_x: what the cross-entropy sees, such as an augmented view of the
                same rows or rows of its own; None: `x`.
            class_y: its labels; None: `y`.
            random: `StepRandom` of the terms of `semi_supervised`.
            labels: `(data, negatives)`, those of both where `conditional`.
            sample_weight: `(batch,)` of `x`, at least 0, or None for equal ones; see
                `fit`.
            class_sample_weight: of `class_x`, where that is given.

        Returns:
            `(loss, logs)`: a scalar and the terms by name; `negative_energies`
            among them holds one tensor for each batch of negatives, and
            `loss_parts` is a list of `(value, rows)`: terms of the loss that are
            means over others than all rows, which an epoch's loss weighs by them.
        """
        logs: dict[str, Any] = {}
        share = self.ramp(training)
        logits, energy = self._data_pass(x, y, labels, training, logs, sample_weight)
        logs["data_energy"] = energy
        if sample_weight is not None:
            logs["loss_rows"] = objectives.count_over(sample_weight)
        labelled = loss = 0.0
        if logits is not None and self.num_classes > 1:
            class_logits, class_weight = logits, sample_weight
            if class_x is not None:
                class_logits = self._train_logits(class_x, training)
                class_weight = class_sample_weight
            labelled = self._class_loss(
                class_logits, y if class_y is None else class_y, logs, class_weight
            )
            drawn_by = random if training else None
            loss = self._unlabelled_loss(
                x, logits, y, logs, drawn_by, share, sample_weight
            )
        if negatives:
            own = None if labels is None else labels[1]
            logs["negative_energies"] = [
                self._negatives_energy(batch, own, training) for batch in negatives
            ]
            logs["negative_energy"] = tf.concat(logs["negative_energies"], axis=0)
            given = {"weights": weights, "data_weights": sample_weight}
            contrast = objectives.OBJECTIVES[self.objective](
                energy,
                logs["negative_energy"],
                **{name: value for name, value in given.items() if value is not None},
            )
            if sample_weight is not None:
                # Against no data at all, negatives would have no floor to rise from.
                contrast *= tf.cast(logs["loss_rows"] > 0.0, contrast.dtype)
            loss += self.energy_weight * contrast
        penalty = self.gradient_penalty * logs.get("gradient_penalty", 0.0)
        loss += self.energy_weight * penalty
        return labelled + share * loss, logs

    def _data_pass(self, x, y, labels, training, logs, sample_weight=None):
        """Logits, or None where nothing needs them, and energies of the data."""
        del y, labels
        store = {}

        def energy_fn(inputs):
            store["logits"] = self._train_logits(inputs, training)
            return self.to_energy(store["logits"])

        energy = self._penalised_energy(energy_fn, x, training, logs, sample_weight)
        return store["logits"], energy

    def _penalised_energy(self, energy_fn, x, training, logs, sample_weight=None):
        """Energies of the data, and the penalty on their gradients among the logs."""
        if not (training and self.gradient_penalty and self.energy_weight):
            return energy_fn(x)
        energy, gradient = energy_and_gradient(energy_fn, x)
        logs["gradient_penalty"] = objectives.gradient_penalty(gradient, sample_weight)
        return energy

    def _negatives_energy(self, x, labels, training):
        """Energies of negatives, whose rows enter no statistics of the network."""
        with kept_statistics(self.network) if training else contextlib.nullcontext():
            return self._energies_at(x, labels, training)

    def _energies_at(self, x, labels, training):
        del labels
        return self.to_energy(self.network(x, training=training))

    def _train_logits(self, x, training):
        return tf.cast(self.network(x, training=training), tf.float32)

    def ramp(self, training: bool = True):
        """Share, from 0 to 1, at which all but the cross-entropy counts by now."""
        if not (training and self.ramp_steps):
            return self.begun(training)
        step = tf.cast(self.optimizer.iterations, tf.float32) + 1.0
        if self.plain_steps:
            step = tf.maximum(0.0, step - self.plain_steps)
        return tf.minimum(1.0, step / self.ramp_steps)

    def begun(self, training: bool = True):
        """0 in the `plain_steps`, and 1 afterwards."""
        if not (training and self.plain_steps):
            return 1.0
        return tf.cast(self.optimizer.iterations >= self.plain_steps, tf.float32)

    def uncounted_gradient(self, samples: tf.Tensor):
        if not self.plain_steps:
            return None
        left_out = tf.equal(self.begun(), 0.0)
        return left_out, tf.cond(
            left_out,
            lambda: energy_and_gradient(self.inputs_energy, samples)[1],
            lambda: tf.zeros_like(samples),
        )

    def _class_loss(self, logits, y, logs, sample_weight=None):
        labelled = y >= 0
        values = objectives.cross_entropy(logits, y)
        correct = tf.cast(
            tf.argmax(logits, axis=-1, output_type=tf.int32) == y, "float32"
        )
        logs["accuracy"] = (correct, labelled)
        logs["cross_entropy"] = (values, labelled)
        shares = objectives.times(values, sample_weight)
        term = self.classification_weight * objectives.mean_over(shares, labelled)
        _count_part(logs, term, objectives.count_over(labelled))
        return term

    def _unlabelled_loss(
        self, x, logits, y, logs, random, share=1.0, sample_weight=None
    ):
        """Terms on the rows without labels; those of `semi_supervised` by `random`.

        `share` is what they are multiplied with in the loss.
        """
        entropy = objectives.conditional_entropy(logits)
        logs["conditional_entropy"] = entropy
        loss = 0.0
        if self.conditional_entropy_weight:
            shares = objectives.times(entropy, sample_weight)
            unlabelled = objectives.mean_over(shares, y < 0)
            term = self.conditional_entropy_weight * unlabelled
            _count_part(logs, share * term, objectives.count_over(y < 0))
            loss += term
        if self.semi_supervised is not None and random is not None:
            terms, term_logs = self.semi_supervised.loss(
                lambda x: self._train_logits(x, False),
                x,
                logits,
                y < 0,
                random,
                **({} if sample_weight is None else {"sample_weight": sample_weight}),
            )
            loss += terms
            for term, rows in term_logs.pop("loss_parts"):
                _count_part(logs, share * term, rows)
            logs |= term_logs
        return loss

    def sample_slope(self, logs: dict[str, Any]):
        energies = logs["negative_energies"][0]
        total = tf.cast(tf.shape(logs["negative_energy"])[0], tf.float32)
        slope = objectives.negative_slope(self.objective, energies)
        return -self.ramp() * self.energy_weight * slope / total


def with_samples(samples: tf.Tensor, own: Drawn) -> Drawn:
    """Own negatives behind a sampler's, each of which counts as one of them."""
    weights = own.weights
    if weights is not None:
        mine = tf.ones([tf.shape(samples)[0]], weights.dtype)
        others = weights * tf.cast(tf.size(weights), weights.dtype)
        weights = tf.concat([mine, others], axis=0)
        weights /= tf.cast(tf.size(weights), weights.dtype)
    return own._replace(negatives=[samples, *own.negatives], weights=weights)


def _count_part(logs, term, rows) -> None:
    """Notes a term of the loss that is a mean over so many rows."""
    logs.setdefault("loss_parts", []).append((term, rows))
