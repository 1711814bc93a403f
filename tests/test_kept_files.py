"""Models and an export that an earlier version wrote load, answer and train on.

`tests/kept` holds a model of each kind after one epoch, what it gave for eight rows
then, and its measures and training logs of two epochs more; besides a model of a
table, its export, and the decisions on sixteen rows.
"""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import rows

from keras_ebm.data import TableSchema
from keras_ebm.ood import Detector
from keras_ebm.serving import inputs

KEPT = Path(__file__).parent / "kept"
NAMES = sorted(path.stem for path in KEPT.glob("*.keras") if path.stem != "table")
# Float32 sums of other processors differ by 1e-6; two epochs of Adam multiply that.
TOLERANCE = {"rtol": 1e-3, "atol": 1e-4}
X, Y = rows(96)


@pytest.fixture(scope="module")
def answers():
    return dict(np.load(KEPT / "answers.npz"))


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_an_earlier_version_answers_and_trains_as_it_did(name, answers):
    model = keras.saving.load_model(KEPT / f"{name}.keras")
    # Steps that are not traced give the same, to rounding, and sooner.
    model.run_eagerly = True
    found = {"logits": model.predict(X[:8], verbose=0)}
    # Of a density the labels never counted, and are refused by now.
    y = Y if model.num_classes > 1 else None
    measures = model.evaluate(X, y, batch_size=32, verbose=0, return_dict=True)
    found |= {f"evaluated/{key}": value for key, value in measures.items()}
    fit = model.fit(X, y, batch_size=32, epochs=2, shuffle=False, verbose=0)
    found |= {f"trained/{key}": values for key, values in fit.history.items()}
    found["trained_logits"] = model.predict(X[:8], verbose=0)
    expected = {
        key.removeprefix(f"{name}/"): value
        for key, value in answers.items()
        if key.startswith(f"{name}/")
    }
    assert set(found) == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, **TOLERANCE, err_msg=key)


def test_a_table_of_an_earlier_version_is_decided_and_served_as_it_was():
    kept = dict(np.load(KEPT / "table.npz"))
    x, expected = kept["x"], {k: v for k, v in kept.items() if k != "x"}
    model = keras.saving.load_model(KEPT / "table.keras")
    detector = Detector.fit(model, x[:60], target_fpr=0.1)
    schema = TableSchema.from_config(model.preprocessor.schema)
    columns = inputs.split_columns(schema, x[100:116])
    specs = inputs.column_specs(schema)
    served = tf.saved_model.load(str(KEPT / "export" / "1"))
    request = {k: tf.constant(v, specs[k].dtype) for k, v in columns.items()}
    answers = served.signatures["serving_default"](**request)
    decided = detector.predict(x[100:116])
    # Earlier versions gave no reason for what was accepted.
    reasons = decided["reason"].astype(object)
    decided["reason"] = np.where(reasons == b"accepted", b"", reasons)
    for found in (decided, {k: answers[k] for k in expected}):
        for name, values in expected.items():
            if values.dtype.kind == "f":
                np.testing.assert_allclose(found[name], values, **TOLERANCE)
            else:
                given = np.asarray(found[name]).astype(values.dtype)
                np.testing.assert_array_equal(given, values)
