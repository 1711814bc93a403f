"""The table of what an export answers, and how each answer is verified."""

import dataclasses

import numpy as np
import tensorflow as tf

from keras_ebm.data.image_bytes import DECODED
from keras_ebm.layers import TableEncoder
from keras_ebm.ood import Detector
from keras_ebm.serving.inputs import LARGEST

#: How an export's answers may be compared with the detector's: numbers within a
#: tolerance; p-values, which move by a step where a score rounds over a calibration
#: score; classes where the two best probabilities differ; decisions where the score is
#: clear of the threshold; and what must be equal in every row.
COMPARISONS = ("number", "p_value", "class", "decision", "equal")


@dataclasses.dataclass(frozen=True)
class Output:
    """One of the tensors that `Detector.decide` gives, as it is exported.

    Args:
        compared: one of `COMPARISONS`.
        of: which exports have it: `"all"`, those of `"classes"` or of a `"table"`.
        unread: what stands for it in a row that has no answer, as it could not be read
            or its score is no finite number.
    """

    compared: str
    of: str = "all"
    unread: bool | int | float | str = 0.0


#: Outputs by name, in the order of the card. A new one is given by `Detector.decide`
#: and stands here.
OUTPUTS = {
    "class_id": Output("class", of="classes", unread=-1),
    "label": Output("class", of="classes", unread=""),
    "probabilities": Output("number", of="classes"),
    "energy": Output("number", unread=LARGEST),
    "ood_score": Output("number", unread=LARGEST),
    "p_value": Output("p_value"),
    "accept": Output("decision", unread=False),
    # Where a row has no answer it says why.
    "reason": Output("decision", unread=""),
    "filled": Output("equal", of="table", unread=""),
}


def output_names(detector: Detector, with_classes: bool) -> tuple[str, ...]:
    """Names of the outputs of a detector's export.

    Args:
        detector: `Detector`.
        with_classes: bool, whether it is a classifier's.
    """
    kinds = {"all"}
    if with_classes:
        kinds.add("classes")
    if isinstance(detector.model.preprocessor, TableEncoder):
        kinds.add("table")
    return tuple(name for name, output in OUTPUTS.items() if output.of in kinds)


def complete(decision: dict, refusals: tf.Tensor | None = None) -> dict:
    """A decision as it is served, without NaN and infinite numbers.

    Args:
        decision: name to tensor with leading axis `batch`, as `Detector.decide` gives.
        refusals: string tensor `(batch,)`, why a row could not be read, or empty.

    Returns:
        The decision. Rows that could not be read, and those whose score is NaN, are not
        accepted and `reason` says why; their `p_value` is 0, which no other's is, and
        what else they have is `Output.unread`.
    """
    if refusals is None:
        unread = tf.math.is_nan(decision["ood_score"])
        replaced = decision.keys() - {"reason", "accept", "filled"}
    else:
        unread = refusals != DECODED
        replaced = decision.keys() - {"reason"}
        reason = tf.where(unread, refusals, decision["reason"])
        decision = decision | {"reason": reason}
    answers = dict(decision)
    for name in replaced:
        value, nothing = decision[name], OUTPUTS[name].unread
        # Each operation counts in a request of one row.
        rank = value.shape.rank
        rows = unread if rank == 1 else tf.reshape(unread, [-1] + [1] * (rank - 1))
        answers[name] = tf.where(rows, tf.cast(nothing, value.dtype), value)
    if decision["energy"] is decision["ood_score"]:
        answers["energy"] = answers["ood_score"]
    return answers


def finite(values: tf.Tensor) -> tf.Tensor:
    """Numbers as they are served: `LARGEST` for NaN and infinity."""
    if not values.dtype.is_floating:
        return values
    nothing = tf.constant(LARGEST, values.dtype)
    return tf.where(tf.math.is_finite(values), values, nothing)


def restore(answers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Served answers with NaN for the numbers of rows that have none.

    Args:
        answers: name to array with leading axis `rows`, as a signature gives.

    Returns:
        The answers. Those of exports of earlier versions, which serve NaN, stay.
    """
    unread = answers["ood_score"] == np.float32(LARGEST)
    if not unread.any():
        return answers
    restored = dict(answers)
    for name in {"energy", "ood_score", "p_value", "probabilities"} & answers.keys():
        restored[name] = answers[name].copy()
        restored[name][unread] = np.nan
    return restored
