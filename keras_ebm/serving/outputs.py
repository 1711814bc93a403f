"""The table of what an export answers, and how each answer is verified."""

import dataclasses

from keras_ebm.layers import TableEncoder
from keras_ebm.ood import Detector

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
        unread: what stands for it in a row that could not be read.
    """

    compared: str
    of: str = "all"
    unread: bool | int | float | str = float("nan")


#: Outputs by name, in the order of the card. A new one is given by `Detector.decide`
#: and stands here.
OUTPUTS = {
    "class_id": Output("class", of="classes", unread=-1),
    "label": Output("class", of="classes", unread=""),
    "probabilities": Output("number", of="classes"),
    "energy": Output("number"),
    "ood_score": Output("number"),
    "p_value": Output("p_value"),
    "accept": Output("decision", unread=False),
    # Where a row could not be read it says why.
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
