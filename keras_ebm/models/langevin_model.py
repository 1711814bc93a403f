"""Energies trained by Markov chains: CD, PCD, short-run, IGEBM and JEM."""

from typing import Any

import keras
import tensorflow as tf

from keras_ebm.arguments import check_choice, check_positive, check_size
from keras_ebm.models.base import Drawn, check_float_input
from keras_ebm.models.batches import Batch
from keras_ebm.models.energy_model import EnergyModel
from keras_ebm.negatives import MarkovChains, Negatives
from keras_ebm.objectives import data_mean
from keras_ebm.objectives.walks import THROUGH, WalkTerms
from keras_ebm.protocols import RandomDraws


@keras.saving.register_keras_serializable(package="keras_ebm")
class LangevinModel(EnergyModel):
    """An energy-based model whose negatives Markov chains walk to.

    What the chains start from and what is asked of the network make the method:

    - CD-k: `MarkovChains(LangevinMoves(k), start="data", start_stddev=0)`;
    - persistent: with a `ReplayBuffer` and `MALAMoves`; short-run: without;
    - IGEBM: `LangevinMoves` colder than temperature 1, a ring, `energy_l2=1`;
    - JEM: the same chains for a network with classes and its cross-entropy;
    - class-conditional: `conditional=True`, chains that walk under labels.

    One step descends `EnergyModel`'s loss and

        energy_l2 * (mean E(x)^2 + mean E(x_neg)^2)
        + kl_weight * mean E(x_K)                        weights of E held fixed
        - neighbour_weight * mean log min_j ||x_K - b_j||

    where `x_K` are the chains' ends as functions of the energy's weights through
    their last step or all of them, and `b_j` states of the buffer: energy and
    entropy of the term of contrastive divergence that is usually left out.

    Args:
        network: see `EnergyModel`; or `keras_ebm.networks.ClassConditional`.
        negatives: `keras_ebm.negatives.MarkovChains`.
        conditional: bool, whether energies and chains are those of each input
            with its label, `E(x, y)`, and not of the marginal. Default: whether
            the network is a `ClassConditional` or a `VectorConditional`. An
            input without a class gets one drawn from `p(y|x)`.
        classification_weight: float >= 0, default 1, or 0 where `conditional`,
            as a cross-entropy takes the energies of all classes.
        energy_l2: float >= 0, 1 in IGEBM: keeps energies near 0.
        kl_weight: float >= 0, 1 in improved contrastive divergence; needs
            `LangevinMoves`.
        kl_through: `"last"` or `"all"`, the steps that gradients go through; all
            of them take the memory of as many passes.
        neighbour_weight: float >= 0, 0.3 in improved contrastive divergence.
        num_neighbours: int >= 1, states `b_j`, taken at random once the buffer
            has ten times as many.
        dequantisation: float >= 0, width of uniform noise around 0 added to
            preprocessed data in training, such as one level of a pixel.
        **kwargs: forwarded to `EnergyModel`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Du and Mordatch (2019), https://arxiv.org/abs/1903.08689, algorithm 1.
        - Grathwohl et al. (2020), https://arxiv.org/abs/1912.03263, algorithm 1.
        - Du et al. (2021), https://arxiv.org/abs/2012.01316, equations 5 to 8.
    """

    negatives: MarkovChains
    _values: tuple[str, ...] = (
        "conditional",
        "energy_l2",
        "kl_weight",
        "kl_through",
        "neighbour_weight",
        "num_neighbours",
        "dequantisation",
    )

    def __init__(
        self,
        network: keras.Model,
        negatives: MarkovChains,
        *,
        conditional: bool | None = None,
        classification_weight: float | None = None,
        energy_l2: float = 0.0,
        kl_weight: float = 0.0,
        kl_through: str = "last",
        neighbour_weight: float = 0.0,
        num_neighbours: int = 100,
        dequantisation: float = 0.0,
        **kwargs,
    ):
        if conditional is None:
            conditional = hasattr(network, "class_logits")
        if classification_weight is None:
            classification_weight = 0.0 if conditional else 1.0
        super().__init__(
            network,
            negatives=negatives,
            classification_weight=classification_weight,
            **kwargs,
        )
        self.conditional = bool(conditional)
        weights = {
            "energy_l2": energy_l2,
            "kl_weight": kl_weight,
            "neighbour_weight": neighbour_weight,
            "dequantisation": dequantisation,
        }
        for name, value in weights.items():
            setattr(self, name, check_positive(name, value, zero_allowed=True))
        self.kl_through = check_choice("kl_through", kl_through, THROUGH)
        self.num_neighbours = check_size("num_neighbours", num_neighbours)
        check_float_input(network, "negatives")
        self._check()
        if energy_l2:
            self._add_trackers("energy_l2")
        self._add_trackers(*self.walk_terms.log_names)

    def _check(self):
        source = self._source()
        if source is None or not source.walks:
            raise ValueError(
                "`negatives` must be MarkovChains. Received: "
                f"negatives={self.negatives!r}; use EnergyModel for negatives of "
                "the batch, VERA for those of a generator."
            )
        if self.conditional and self.num_classes < 2 and not self.label_size:
            raise ValueError(
                "`conditional` needs a network with classes. Received: "
                f"{self.num_classes} output."
            )
        ramps = self.ramp_steps or self.plain_steps
        if self.conditional and (self.semi_supervised or ramps):
            raise ValueError(
                "`semi_supervised`, `ramp_steps` and `plain_steps` do not go with "
                "`conditional`, whose chains need a label for each input. Received: "
                "both; use conditional=False."
            )
        if self.walk_terms and not self.negatives.moves.differentiable:
            raise ValueError(
                "`kl_weight` and `neighbour_weight` need gradients through the "
                "chains' steps. Received: moves="
                f"{type(self.negatives.moves).__name__}; use LangevinMoves."
            )
        if self.neighbour_weight and self.negatives.buffer is None:
            raise ValueError(
                "`neighbour_weight` needs a buffer, whose states are the neighbours. "
                "Received: buffer=None; pass a ReplayBuffer to MarkovChains."
            )

    @property
    def walk_terms(self) -> WalkTerms:
        """The terms of the loss that go through the chains' last steps."""
        return WalkTerms(
            self.kl_weight,
            self.kl_through,
            self.neighbour_weight,
            self.num_neighbours,
        )

    def complete_labels(self, x: tf.Tensor, y: tf.Tensor, random: RandomDraws):
        """Labels in which -1 is replaced by a draw from `p(y|x)`, `(batch,)`.

        Labels that are vectors stay as they are.
        """
        if self.label_size:
            return y

        def draw():
            logits = tf.cast(self.network(x, training=False), tf.float32)
            uniform = random.uniform(tf.shape(logits), "labels")
            perturbed = logits - tf.math.log(-tf.math.log(uniform))
            drawn = tf.argmax(perturbed, axis=-1, output_type=tf.int32)
            return tf.where(y < 0, drawn, y)

        # All classes are a pass each, which a fully labelled batch does without.
        return tf.cond(tf.reduce_any(y < 0), draw, lambda: y)

    def add_data_noise(self, x: tf.Tensor, random: RandomDraws):
        x = super().add_data_noise(x, random)
        if not self.dequantisation:
            return x
        noise = random.uniform(tf.shape(x), "dequantise", -0.5, 0.5)
        return x + self.dequantisation * noise

    def _data_pass(self, x, y, labels, training, logs, sample_weight=None):
        if not self.conditional:
            return super()._data_pass(x, y, labels, training, logs, sample_weight)
        logits, own = None, y if labels is None else labels[0]
        classes = not self.label_size
        if classes and (not training or self.classification_weight):
            logits = self._train_logits(x, training)
            best = tf.argmax(logits, axis=-1, output_type=tf.int32)
            own = tf.where(own < 0, best, own)

        def energy_fn(inputs):
            return self.class_energy(inputs, own, training=training)

        energy = self._penalised_energy(energy_fn, x, training, logs, sample_weight)
        return logits, energy

    def _energies_at(self, x, labels, training):
        if not self.conditional:
            return super()._energies_at(x, labels, training)
        return self.class_energy(x, labels, training=training)

    def energy_loss(
        self,
        x: tf.Tensor,
        y: tf.Tensor,
        negatives: list,
        training: bool = False,
        *others: Any,
        **arguments: Any,
    ):
        loss, logs = super().energy_loss(
            x, y, negatives, training, *others, **arguments
        )
        if self.energy_l2 and negatives:
            weights = arguments.get("sample_weight")
            squares = data_mean(tf.square(logs["data_energy"]), weights)
            squares += tf.reduce_mean(tf.square(logs["negative_energy"]))
            logs["energy_l2"] = squares
            loss += self.begun(training) * self.energy_l2 * squares
        return loss, logs

    def walk(self, x: tf.Tensor, random: RandomDraws, labels: tf.Tensor | None = None):
        """Moves the chains of one training step; see `MarkovChains.draw`."""
        return self.negatives.draw(
            self.chain_energy(),
            x,
            random,
            labels if self.conditional else None,
            training=True,
            last_steps=self.walk_terms.last_steps(self.negatives.moves),
        )

    def draw_step(self, batch: Batch):
        x, random = batch.x, batch.random
        labels = self.complete_labels(x, batch.y, random) if self.conditional else None
        neighbours = self.walk_terms.neighbours(self.negatives.buffer, random)
        made = self.walk(x, random, labels)
        return Drawn(
            [made.x],
            labels=(labels, made.labels) if self.conditional else None,
            logs=made.logs,
            rest=(made, neighbours),
        )

    def step_loss(self, batch: Batch, drawn: Drawn):
        loss, logs = super().step_loss(batch, drawn)
        if not self.walk_terms:
            return loss, logs
        made, neighbours = drawn.rest
        extra, extra_logs = self.walk_loss(made, batch.random, neighbours)
        return loss + self.begun() * extra, {**logs, **extra_logs}

    def walk_loss(
        self, made: Negatives, random: RandomDraws, neighbours: tuple | None = None
    ):
        """The terms through the chains' last steps; see the class docstring.

        Args:
            made: `Negatives`, with `before`.
            random: the `StepRandom` that they walked by.
            neighbours: `(states (n, ...), known)`, or None.

        Returns:
            `(loss, logs)`.
        """
        return self.walk_terms.loss(
            self.chain_energy(), self.negatives.moves, made, neighbours, random
        )
