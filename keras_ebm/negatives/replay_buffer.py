"""Where chains rest between the training steps that move them."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_choice, check_size
from keras_ebm.protocols import RandomDraws
from keras_ebm.random import replica_context
from keras_ebm.saveable import Saveable

REPLACEMENTS = ("in_place", "ring", "reservoir")
STORAGES = ("float32", "uint8")


@keras.saving.register_keras_serializable(package="keras_ebm")
class ReplayBuffer(Saveable, keras.layers.Layer):
    """States of Markov chains, kept from one training step to the next.

    Under `tf.distribute` every replica keeps a part of its own, an equal share
    of the capacity; what is saved is all of them, and it is loaded under any
    number of replicas that divides the capacity. Build it in the strategy's
    scope.

    Args:
        shape: of one state, a preprocessed input.
        capacity: int >= 1, states of all replicas; 10,000 in the papers.
        replacement: what moved states take the place of. `"in_place"` (JEM,
            PCD): of the states that were taken out. `"ring"` (IGEBM): of the
            oldest. `"reservoir"` (improved contrastive divergence): the n-th
            state ever stored replaces any one with probability `capacity / n`.
        in_turn: bool, takes states out in turn and not at random; with
            `"in_place"` alone. A chain then never waits long.
        storage: `"float32"`, or `"uint8"`: a quarter of the memory; states are
            rounded down to 256 levels of `value_range` and given uniform noise
            of a level's width when they are taken out, which leaves their mean.
        value_range: `(low, high)` of states, for `"uint8"`.
        store_labels: bool, whether a label is kept with every state.
        label_size: int >= 0, numbers of a label that is a vector; 0: integers.
        **kwargs: forwarded to `keras.layers.Layer`.

    Raises:
        ValueError: if an argument breaks its rule, or the number of replicas
            does not divide the capacity.

    References:
        - Du and Mordatch (2019), https://arxiv.org/abs/1903.08689.
        - Grathwohl et al. (2020), https://arxiv.org/abs/1912.03263.
        - Du et al. (2021), https://arxiv.org/abs/2012.01316.
    """

    _values = (
        "shape",
        "capacity",
        "replacement",
        "in_turn",
        "storage",
        "value_range",
        "store_labels",
        "label_size",
    )

    def __init__(
        self,
        shape: Sequence[int],
        capacity: int = 10_000,
        *,
        replacement: str = "in_place",
        in_turn: bool = False,
        storage: str = "float32",
        value_range: tuple[float, float] = (-1.0, 1.0),
        store_labels: bool = False,
        label_size: int = 0,
        **kwargs,
    ):
        super().__init__(dtype=kwargs.pop("dtype", "float32"), **kwargs)
        self.shape = tuple(shape)
        self.capacity = check_size("capacity", capacity)
        self.replacement = check_choice("replacement", replacement, REPLACEMENTS)
        self.storage = check_choice("storage", storage, STORAGES)
        self.in_turn = bool(in_turn)
        self.value_range = tuple(value_range)
        self.store_labels = bool(store_labels)
        self.label_size = 0 if label_size == 0 else check_size("label_size", label_size)
        if in_turn and replacement != "in_place":
            raise ValueError(
                "`in_turn` needs replacement='in_place'. "
                f"Received: replacement={replacement!r}."
            )
        if len(self.value_range) != 2 or not self.value_range[0] < self.value_range[1]:
            raise ValueError(
                "`value_range` must be (low, high) with low below high. "
                f"Received: value_range={value_range!r}."
            )
        self.num_replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if capacity % self.num_replicas:
            raise ValueError(
                "`capacity` must be a multiple of the number of replicas. Received: "
                f"capacity={capacity} for {self.num_replicas} replicas."
            )
        part = capacity // self.num_replicas
        self.states = _local_variable((part, *self.shape), self.storage, "states")
        # GPUs cannot gather from int32 variables, nor write entries of booleans.
        label_shape = (part, label_size) if label_size else (part,)
        label_type = "float32" if label_size else "int64"
        self.labels = _local_variable(label_shape, label_type, "labels")
        self.visited = _local_variable((part,), "int64", "visited")
        self.stored = _local_variable((), "int64", "stored")
        self.built = True

    @property
    def part_capacity(self) -> int:
        """States that one replica keeps."""
        return self.capacity // self.num_replicas

    def holds(self, count: int | tf.Tensor):
        """Whether the buffer has at least `count` states to give, a boolean scalar."""
        stored = self._local(self.stored)
        return tf.minimum(stored, self.part_capacity) >= tf.cast(count, tf.int64)

    def take(self, count: int | tf.Tensor, random: RandomDraws):
        """Takes states out, to be moved and given back by `put`.

        Args:
            count: int or integer scalar, at most `part_capacity`.
            random: `keras_ebm.random.StepRandom`.

        Returns:
            `(slots, states, labels, known)`: `(count,)` integers for `put`, the
            states `(count, ...)`, their labels `(count,)` or `(count, label_size)`,
            and `(count,)` booleans, False where the buffer had no state to give.

        Raises:
            ValueError: if it runs under another number of replicas than the
                buffer was built for.
        """
        self._check_replicas()
        part = self.part_capacity
        stored = self._local(self.stored)
        if self.in_turn:
            first = tf.cast(random.iteration % part, tf.int32) * count
            slots = (first + tf.range(count)) % part
        else:
            largest = part
            if self.replacement != "in_place":
                held = tf.cast(tf.minimum(stored, part), tf.int32)
                largest = tf.maximum(held, 1)
            slots = random.integers([count], "slots", largest)
        if self.replacement == "in_place":
            known = tf.gather(self._local(self.visited), slots) > 0
        else:
            # Not before there is a batch to choose from.
            enough = stored >= tf.cast(tf.minimum(count, part), tf.int64)
            known = tf.fill([count], enough)
        states = tf.gather(self._local(self.states), slots)
        labels = self._as_labels(tf.gather(self._local(self.labels), slots))
        return slots, self._decode(states, random), labels, known

    def _as_labels(self, kept):
        return kept if self.label_size else tf.cast(kept, tf.int32)

    def pick(
        self,
        count: int | tf.Tensor,
        random: RandomDraws,
        labels: np.ndarray | None = None,
    ):
        """Copies of states outside of training, of all replicas, at random.

        Args:
            count: int >= 1.
            random: `keras_ebm.random.StepRandom`.
            labels: `(count,)` classes, of which the states are to be; default any.

        Returns:
            `(states, labels)`: `(count, ...)` and `(count,)` or `(count, label_size)`.

        Raises:
            ValueError: if no state, or none of such a class, was stored yet.
        """
        whole = self.whole()
        rows = np.empty(count, int)
        held = whole["visited"] > 0
        if labels is None:
            groups = [("states", held, np.ones(count, bool))]
        else:
            groups = [
                (f"states of class {k}", held & (whole["labels"] == k), labels == k)
                for k in np.unique(labels)
            ]
        for what, of_group, wanted in groups:
            places = np.flatnonzero(of_group)
            if not len(places):
                raise ValueError(
                    f"A ReplayBuffer must hold {what}. Received: one without."
                )
            drawn = random.integers([count], "picks", len(places)).numpy()
            rows[wanted] = places[drawn[wanted]]
        states = self._decode(tf.constant(whole["states"][rows]), random)
        return states, self._as_labels(tf.constant(whole["labels"][rows]))

    def put(
        self,
        slots: tf.Tensor,
        states: tf.Tensor,
        random: RandomDraws,
        labels: tf.Tensor | None = None,
    ) -> None:
        """Stores moved states.

        Args:
            slots: `(count,)`, from `take`.
            states: `(count, ...)`.
            random: `keras_ebm.random.StepRandom`.
            labels: `(count,)` integers, `(count, label_size)` numbers, or None.
        """
        count = tf.shape(states)[0]
        stored = self._local(self.stored)
        accepted = tf.fill([count], True)
        if self.replacement == "ring":
            places = tf.cast(stored % self.part_capacity, tf.int32) + tf.range(count)
            slots = places % self.part_capacity
        elif self.replacement == "reservoir":
            slots, accepted = self._reservoir(stored, count, random)
        updates = self._encode(states)
        slots_list = slots[:, None]
        # Where two states go to one slot the last stays, on any device.
        same = (slots[:, None] == slots[None, :]) & accepted[None, :]
        last = tf.argmax(tf.where(same, tf.range(1, count + 1)[None, :], 0), axis=1)
        goes = tf.reduce_any(same, axis=1)
        pairs = [(self.states, updates)]
        if labels is not None:
            pairs.append((self.labels, tf.cast(labels, self.labels.dtype)))
        for variable, values in pairs:
            local = self._local(variable)
            pick = tf.reshape(goes, [-1, *[1] * (values.shape.rank - 1)])
            kept = tf.gather(local, slots)
            values = tf.where(pick, tf.gather(values, last), kept)
            local.scatter_nd_update(slots_list, values)
        ones = tf.ones([count], tf.int64)
        self._local(self.visited).scatter_nd_update(slots_list, ones)
        stored.assign_add(tf.cast(count, tf.int64))

    def reset(self, labels: int | Sequence[int] | None = None) -> None:
        """Empties the buffer, of all states or of those of some classes.

        It runs between training steps, such as where a stream comes to another class.
        What stays is in its place, but in a ring or a reservoir moves to the front in
        its order, so that the next state goes behind it.

        Args:
            labels: integer or integers, the classes whose states go; None: all.

        Raises:
            ValueError: if `labels` are given for a buffer that stores none, or are no
                integers.
        """
        gone = None if labels is None else self._checked_labels(labels)
        names = ("states", "labels", "visited", "stored")
        parts = [_parts(getattr(self, name)) for name in names]
        for states, own_labels, visited, stored in zip(*parts, strict=True):
            kept = visited.numpy() > 0
            kept &= gone is not None and ~np.isin(own_labels.numpy(), gone)
            count = int(kept.sum())
            if self.replacement != "in_place":
                front = self._oldest_first(kept, int(stored.numpy()))
                states.assign(_moved_up(states.numpy(), front))
                own_labels.assign(_moved_up(own_labels.numpy(), front))
                kept = np.arange(len(kept)) < count
            visited.assign(kept.astype(np.int64))
            stored.assign(count)

    def _checked_labels(self, labels) -> np.ndarray:
        gone = np.atleast_1d(np.asarray(labels))
        if not self.store_labels:
            raise ValueError(
                "`labels` need a buffer with store_labels=True. Received: labels="
                f"{labels!r} for one without; call reset() to empty it altogether."
            )
        if gone.ndim != 1 or (gone.size and gone.dtype.kind not in "iu"):
            raise ValueError(
                "`labels` must be an integer or a sequence of integers. "
                f"Received: labels={labels!r}."
            )
        return gone

    def _oldest_first(self, kept: np.ndarray, stored: int) -> np.ndarray:
        """Slots that are kept, of a ring from the oldest state on."""
        full = self.replacement == "ring" and stored > len(kept)
        slots = np.roll(np.arange(len(kept)), -(stored % len(kept)) if full else 0)
        return slots[kept[slots]]

    def _reservoir(self, stored, count, random):
        number = stored + 1 + tf.range(tf.cast(count, tf.int64))
        part = tf.constant(self.part_capacity, tf.int64)
        filling = number <= part
        share = tf.cast(part, tf.float32) / tf.cast(number, tf.float32)
        lucky = random.uniform([count], "reservoir") < share
        anywhere = random.integers([count], "reservoir_slots", self.part_capacity)
        slots = tf.where(filling, tf.cast(number - 1, tf.int32), anywhere)
        return slots, filling | lucky

    def _encode(self, states):
        if self.storage == "float32":
            return states
        low, high = self.value_range
        levels = tf.floor(256.0 * (states - low) / (high - low))
        return tf.cast(tf.clip_by_value(levels, 0.0, 255.0), tf.uint8)

    def _decode(self, states, random):
        if self.storage == "float32":
            return states
        low, high = self.value_range
        noise = random.uniform(tf.shape(states), "dither")
        return low + (high - low) * (tf.cast(states, tf.float32) + noise) / 256.0

    def _check_replicas(self):
        _, running = replica_context()
        if running != self.num_replicas:
            raise ValueError(
                "A ReplayBuffer must be built under the strategy that it is used "
                f"under. Received: built for {self.num_replicas} replicas, running "
                f"on {running}; build the model in `strategy.scope()`."
            )

    def _local(self, variable):
        """The `tf.Variable` of the replica that asks."""
        values = _parts(variable)
        if len(values) == 1:
            return values[0]
        replica, _ = replica_context()
        return values[int(tf.get_static_value(replica))]

    # Saving: slot `i` of replica `r` of `R` is row `i * R + r` of the whole, so
    # that a buffer that is filling up is filled from the front however it is cut.

    def whole(self) -> dict:
        """All replicas' parts as numpy arrays, by name; `stored` is their sum."""
        arrays = {}
        for name in ("states", "labels", "visited"):
            parts = [value.numpy() for value in _parts(getattr(self, name))]
            stacked = np.stack(parts, axis=1)
            arrays[name] = stacked.reshape([self.capacity, *stacked.shape[2:]])
        arrays["stored"] = np.sum([value.numpy() for value in _parts(self.stored)])
        return arrays

    def save_own_variables(self, store):
        for name, array in self.whole().items():
            store[name] = array

    def load_own_variables(self, store):
        replicas = self.num_replicas
        for name in ("states", "labels", "visited"):
            array = np.asarray(store[name])
            if len(array) != self.capacity:
                raise ValueError(
                    f"`capacity` must be that of the saved buffer. Received: "
                    f"capacity={self.capacity} for {len(array)} saved states."
                )
            for i, value in enumerate(_parts(getattr(self, name))):
                value.assign(array[i::replicas])
        for value in _parts(self.stored):
            value.assign(int(np.asarray(store["stored"])) // replicas)


def _local_variable(shape, dtype, name):
    """A variable of which every replica has a copy of its own."""
    return keras.Variable(
        np.zeros(shape, dtype),
        dtype=dtype,
        trainable=False,
        name=name,
        synchronization="on_read",
        aggregation="only_first_replica",
    )


def _moved_up(values: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """An array whose first entries are those of `slots`; the others as they were."""
    moved = values.copy()
    moved[: len(slots)] = values[slots]
    return moved


def _parts(variable):
    return list(getattr(variable.value, "values", [variable.value]))
