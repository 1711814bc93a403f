"""The signatures `explain` and `acceptable` of a table's model."""

import numpy as np
import tensorflow as tf

from keras_ebm.data.schema import TableSchema
from keras_ebm.explain import Explainer
from keras_ebm.ood import Detector
from keras_ebm.serving import inputs
from keras_ebm.serving.outputs import finite

CONTRIBUTIONS = ("contributions", "energy", "baseline_energy")
CHANGE = ("found", "distance", "energy")


def check_explainer(explainer: Explainer, detector: Detector) -> None:
    """Raises ValueError unless the explanations are of this detector's decisions."""
    if explainer.detector is not detector:
        raise ValueError(
            "`explainer` must explain the detector that is exported. Received: an "
            "explainer of another detector; use "
            "Explainer.for_detector(detector, train_rows)."
        )
    taken = set(CHANGE) & set(_names(explainer))
    if taken:
        raise ValueError(
            f"Columns must not be called {', '.join(map(repr, CHANGE))}, which are "
            "outputs beside the columns in the signature of changed rows. Received: "
            f"{min(taken)!r}; rename it and train again."
        )


def explanation_signatures(explainer: Explainer) -> dict:
    """Signature name to `(function, specs)`; inputs are those of the decision.

    `explain` gives `contributions` `(batch, columns)`, `energy` and
    `baseline_energy`, and `acceptable` the changed rows as the inputs have them (by
    column, or under the input's own name), `found`, `distance` and `energy`. A number
    that there is none of, as a missing cell or the distance to what was not found, is
    `serving.outputs.LARGEST`.
    """
    model = explainer.detector.model
    if inputs.input_kind(model) == "table":
        return _by_column(explainer)
    (spec,) = inputs.input_specs(model).values()

    def explain(inputs):
        return _explanation(explainer, inputs)

    def acceptable(inputs):
        change = explainer.acceptable(inputs)
        return {spec.name: finite(change.rows), **_figures(change)}

    return {"explain": (explain, [spec]), "acceptable": (acceptable, [spec])}


def _by_column(explainer):
    schema = _schema(explainer)
    specs = inputs.column_specs(schema)

    def explain(columns):
        return _explanation(explainer, inputs.encode_columns(schema, columns))

    def acceptable(columns):
        change = explainer.acceptable(inputs.encode_columns(schema, columns))
        # Words are given back as they came, those of no category too.
        cells = dict(columns)
        for position, column in enumerate(schema.columns):
            if column.kind == "numeric":
                name = inputs.column_names(schema)[column.name]
                cell = tf.cast(change.rows[:, position], specs[name].dtype)
                cells[name] = finite(cell)
        return {**cells, **_figures(change)}

    return {"explain": (explain, [specs]), "acceptable": (acceptable, [specs])}


def _explanation(explainer, rows):
    found = explainer.contributions(rows)
    return {name: finite(getattr(found, name)) for name in CONTRIBUTIONS}


def _figures(change):
    return {name: finite(getattr(change, name)) for name in CHANGE}


def explanation_card(explainer: Explainer) -> dict:
    """What a reader of the answers should know, as JSON-ready values."""
    row = explainer.baseline[None]
    if inputs.input_kind(explainer.detector.model) == "table":
        row = inputs.split_columns(_schema(explainer), row)
        cells = [row[name][0] for name in _names(explainer)]
    else:
        cells = row[0]
    return {
        "columns": _names(explainer),
        "baseline": [_plain(cell) for cell in cells],
        "bounds": {
            name: list(explainer.bounds[column])
            for column, name in zip(
                explainer.column_names, _names(explainer), strict=True
            )
            if column in explainer.bounds
        },
        "units": "contributions and energies in nats; distance in feature space, "
        "where columns count by their spread in training",
    }


def _plain(cell):
    """A cell as JSON has it: None is missing, which NaN and no word stand for."""
    if isinstance(cell, str):
        return cell or None
    return None if np.isnan(cell) else float(cell)


def _names(explainer) -> list[str]:
    """Names of the columns, in order, as the signatures have them."""
    if inputs.input_kind(explainer.detector.model) != "table":
        return explainer.column_names
    return list(inputs.column_names(_schema(explainer)).values())


def _schema(explainer) -> TableSchema:
    return TableSchema.from_config(explainer.encoder.schema)
