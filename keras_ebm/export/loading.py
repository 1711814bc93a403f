"""Loads an export for `keras-ebm predict`, and refuses what no exporter wrote."""

from pathlib import Path

import tensorflow as tf

from keras_ebm.arguments import listed
from keras_ebm.serving.inputs import RATE

REMEDY = "copy the whole folder of the export again, or export the model again"
#: Calibration rows of a card at most; no export has as many.
MOST_ROWS = 10**8


def check_card(path: Path, card: dict) -> None:
    """Checks the values of a card whose keys have the right types.

    Args:
        path: of the card, for the error.
        card: what it holds.

    Raises:
        ValueError: if a value is none that an exporter writes.
    """
    rate, columns = card["target_fpr"], card.get("columns", {})
    counts = card.get("calibration_rows_by_class") or []
    rules = {
        "target_fpr": (0.0 < rate < 1.0, "a number above 0 and below 1"),
        "calibration_rows": (
            _is_count(card["calibration_rows"]) and card["calibration_rows"] > 0,
            f"an integer from 1 to {MOST_ROWS}",
        ),
        "calibration_rows_by_class": (
            all(map(_is_count, counts)) and sum(counts) <= MOST_ROWS,
            f"a list of integers from 0 to {MOST_ROWS} in all",
        ),
        "columns": (
            "columns" not in card or _are_columns(columns),
            "an object from columns to different names of inputs",
        ),
        "inputs": (
            "inputs" not in card or _are_columns(card["inputs"]),
            "an object from inputs to different names of the signature's",
        ),
        "missing": (
            all(isinstance(word, str) for word in card.get("missing", [])),
            "a list of texts",
        ),
    }
    for name, (holds, rule) in rules.items():
        if not holds:
            raise ValueError(
                f"{path} must have {name!r} as {rule}. Received: "
                f"{str(card.get(name))[:200]}; {REMEDY}."
            )


def _is_count(value) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and 0 <= value <= MOST_ROWS


def _are_columns(columns: dict) -> bool:
    served = list(columns.values())
    texts = all(isinstance(name, str) for name in served)
    return bool(served) and texts and len(set(served)) == len(served)


def load_signature(version: Path, name: str, card: dict):
    """The signature of an export that answers rows, and what it is loaded with.

    Args:
        version: folder of the SavedModel.
        name: `"serving_default"` or `"at_rate"`.
        card: the export's, see `check_card`.

    Returns:
        `(loaded, signature)`; a signature works as long as `loaded` is there.

    Raises:
        ValueError: if the SavedModel cannot be loaded, or is none that the card is of.
    """
    try:
        loaded = tf.saved_model.load(str(version))
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:500]
        raise ValueError(
            f"`model` must be a whole SavedModel. Received: {version}, which cannot be "
            f"loaded ({reason}); {REMEDY}."
        ) from error
    signatures = getattr(loaded, "signatures", {})
    if name not in signatures:
        raise ValueError(
            f"`model` must be an export with the signature {name}. Received: "
            f"{version} with {listed(sorted(signatures)) or 'none'}, of another "
            f"program or cut off; {REMEDY}."
        )
    signature = signatures[name]
    _check_inputs(version, signature.structured_input_signature[1], card)
    _check_outputs(version, signature.structured_outputs)
    return loaded, signature


def load_examples(version: Path, loaded, rate: float):
    """The signature that takes serialised `tf.train.Example`s.

    Args:
        version: folder of the SavedModel.
        loaded: what `load_signature` gave first.
        rate: share of known inputs that may be refused; 0 for that of the export.

    Raises:
        ValueError: if the export has none, or is asked at another rate.
    """
    if rate:
        raise ValueError(
            "`target_fpr` must be left out with tfrecord:PATH, as the signature that "
            f"takes examples has the rate of the export. Received: target_fpr={rate}; "
            "export the model at this rate."
        )
    if "examples" not in loaded.signatures:
        raise ValueError(
            "`model` must have the signature examples to answer tfrecord:PATH. "
            f"Received: {version} with {listed(sorted(loaded.signatures))}; export the "
            "model again, or give its rows as another source."
        )
    return loaded.signatures["examples"]


def _check_inputs(version, specs: dict, card: dict) -> None:
    """The card and the signature must agree on what is asked for."""
    told = card.get("columns") or card.get("inputs") or {"inputs": "inputs"}
    told = set(told.values())
    taken = set(specs) - {RATE}
    if told == taken:
        return
    raise ValueError(
        f"`model` must take the inputs that its card tells of. Received: {version}, "
        f"whose card has {listed(sorted(told - taken)) or 'no input'} that the "
        f"SavedModel lacks, and whose SavedModel has "
        f"{listed(sorted(taken - told)) or 'no input'} that the card lacks; {REMEDY}."
    )


def _check_outputs(version, outputs) -> None:
    needed = {"energy", "ood_score", "p_value", "accept"}
    if isinstance(outputs, dict) and "label" in outputs:
        needed.add("probabilities")
    absent = needed - set(outputs if isinstance(outputs, dict) else ())
    if absent:
        raise ValueError(
            "`model` must answer as an export does. Received: "
            f"{version}, whose answers lack {listed(sorted(absent))}; it is of another "
            f"program: {REMEDY}."
        )
