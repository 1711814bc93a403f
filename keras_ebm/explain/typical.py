"""A row that others can be compared with."""

import numpy as np

from keras_ebm.models import EnergyModel
from keras_ebm.ood import Energy, network_outputs


def typical_row(model: EnergyModel, rows: np.ndarray) -> np.ndarray:
    """The nearest to the mean of all, among the rows of the lower energies.

    Contributions relative to it should say what is particular about the other row.
    So it is a row that exists, for a mean may lie between clusters and has no
    categories; it is of the half with the lower energies, so that it is likely; and
    it is the nearest of them to the mean in feature space, so that it has few
    peculiarities of its own. The row of the lowest energy has those: it is often at
    an edge of its class, where the classifier is surest.

    Args:
        model: an `EnergyModel` whose preprocessor makes inputs `(n, entries)`.
        rows: raw rows `(n, columns)`.

    Returns:
        One of the rows, `(columns,)`.

    Raises:
        ValueError: if no row has a finite energy.
    """
    outputs = network_outputs(model, rows, requires={"logits", "inputs"})
    energy, inputs = Energy().predict(outputs), outputs["inputs"]
    known = np.flatnonzero(np.isfinite(energy) & np.isfinite(inputs).all(axis=1))
    if len(known) == 0:
        raise ValueError(
            "`train_rows` must have a row whose energy is finite. Received: "
            f"{len(rows)} rows without one; are they those of training?"
        )
    centre = inputs[known].mean(axis=0, dtype=np.float64)
    likely = known[energy[known] <= np.median(energy[known])]
    distance = np.square(inputs[likely] - centre).sum(axis=1)
    return np.asarray(rows)[likely[np.argmin(distance)]]
