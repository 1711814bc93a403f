"""Exports in processes that have TensorFlow and nothing of this project."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.export.common import ExportSettings, fit_detector
from keras_ebm.serving import export_classifier
from keras_ebm.trainers.run.record import recall

# `None` in sys.modules makes an import fail; TensorFlow itself does without.
ALONE = """
import sys
for name in ("keras", "keras_ebm", "tf_keras", "trainers", "export"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf

folder = sys.argv[1]
for name in ("image", "table"):
    loaded = tf.saved_model.load(f"{folder}/{name}")
    for signature, function in loaded.signatures.items():
        request = dict(np.load(f"{folder}/{name}-{signature}.npz"))
        if signature in ("examples", "classify", "regress"):
            request = {k: [bytes.fromhex(s) for s in v] for k, v in request.items()}
        answers = function(**{k: tf.constant(v) for k, v in request.items()})
        # Text as bytes, which need no pickle.
        answers = {k: v.numpy() for k, v in answers.items()}
        texts = {k: v.astype("S") for k, v in answers.items() if v.dtype == object}
        np.savez(f"{folder}/{name}-{signature}-answers.npz", **{**answers, **texts})
for name in ("keras", "keras_ebm"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(f"{name} could be imported")
"""


@pytest.fixture(scope="module")
def exports(digits_model, table, tmp_path_factory):
    """`(folder, detectors, rows)` of an image model and a table model."""
    folder = tmp_path_factory.mktemp("alone")
    workdir, spec = table
    models = {
        "image": (digits_model, "digits"),
        "table": (str(workdir / "model.keras"), spec),
    }
    detectors, rows = {}, {}
    for name, (model, calibration) in models.items():
        settings = ExportSettings(model, calibration, target_fpr=0.1)
        detectors[name], known = fit_detector(settings)
        path = export_classifier(detectors[name], folder / f"{name}s", known)
        path.rename(folder / name)
        rows[name] = recall(model).rows("test")[0][:7]
    return folder, detectors, rows


def examples(**columns):
    """Rows as serialised examples."""
    kept = []
    for cells in zip(*columns.values(), strict=True):
        one = tf.train.Example()
        for name, cell in zip(columns, cells, strict=True):
            feature = one.features.feature[name]
            if isinstance(cell, bytes):
                feature.bytes_list.value.append(cell)
            elif not np.isnan(cell):
                feature.float_list.value.append(cell)
            else:
                del one.features.feature[name]
        kept.append(one.SerializeToString())
    # In digits, as NumPy's bytes lose zeros at their end.
    return np.array([one.hex() for one in kept])


def cells_of(values):
    """A column as text; an empty one for a missing number."""
    if values.dtype.kind == "S":
        return values
    return np.array([b"" if np.isnan(v) else repr(float(v)).encode() for v in values])


@pytest.fixture(scope="module")
def answers(exports):
    folder, _, rows = exports
    rates = np.linspace(0.02, 0.9, 7, dtype=np.float32)
    images, cells = rows["image"], rows["table"]
    cities = {0: b"Graz", 1: b"Linz", 2: b"Wien"}
    columns = {
        "age": cells[:, 0],
        "income__k_": cells[:, 1],
        "city": np.array([cities.get(code, b"") for code in cells[:, 2]]),
    }
    pngs = [tf.io.encode_png(image).numpy() for image in images]
    pngs = np.array([*pngs, b"not an image"])
    requests = {
        "image-serving_default": {"inputs": images},
        "image-at_rate": {"inputs": images, "target_fpr": rates},
        "image-encoded": {"images": pngs},
        "image-examples": {"inputs": examples(images=pngs)},
        "image-classify": {"inputs": examples(images=pngs)},
        "image-regress": {"inputs": examples(images=pngs)},
        "table-serving_default": columns,
        "table-at_rate": {**columns, "target_fpr": rates},
        "table-text": {name: cells_of(values) for name, values in columns.items()},
        "table-examples": {"inputs": examples(**columns)},
        "table-classify": {"inputs": examples(**columns)},
        "table-regress": {"inputs": examples(**columns)},
    }
    for name, request in requests.items():
        np.savez(folder / f"{name}.npz", **request)
    process = subprocess.run(
        [sys.executable, "-c", ALONE, str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    found = {}
    for name in requests:
        with np.load(folder / f"{name}-answers.npz") as file:
            found[name] = dict(file)
    return found


@pytest.mark.parametrize("kind", ["image", "table"])
def test_tensorflow_alone_gives_the_frameworks_answers(exports, answers, kind):
    _, detectors, rows = exports
    expected = detectors[kind].predict(rows[kind])
    found = answers[f"{kind}-serving_default"]
    for name in ("energy", "ood_score", "probabilities"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)
    for name in ("class_id", "label", "accept"):
        np.testing.assert_array_equal(found[name], expected[name])
    np.testing.assert_allclose(found["p_value"], expected["p_value"], rtol=1e-5)


@pytest.mark.parametrize("kind", ["image", "table"])
def test_the_other_signatures_agree_with_the_first(answers, kind):
    first, rated = answers[f"{kind}-serving_default"], answers[f"{kind}-at_rate"]
    np.testing.assert_allclose(rated["p_value"], first["p_value"], rtol=1e-5)
    rates = np.linspace(0.02, 0.9, 7, dtype=np.float32)
    np.testing.assert_array_equal(rated["accept"], first["p_value"] > rates)
    p_values = answers[f"{kind}-regress"]["outputs"]
    np.testing.assert_allclose(p_values[:7], first["p_value"], rtol=1e-5)
    if kind == "table":
        for name in ("text", "examples"):
            same = answers[f"table-{name}"]
            np.testing.assert_array_equal(same["energy"], first["energy"])
            np.testing.assert_array_equal(same["reason"], first["reason"])
    if kind == "image":
        encoded = answers["image-encoded"]
        # A batch of eight rows may round otherwise than one of seven.
        np.testing.assert_allclose(encoded["energy"][:7], first["energy"], rtol=1e-6)
        np.testing.assert_array_equal(encoded["accept"][:7], first["accept"])
        assert encoded["p_value"][7] == 0 and not encoded["accept"][7]
        assert encoded["reason"][7] == b"not an image"


def test_saved_model_cli_shows_and_runs_an_export(exports, tmp_path):
    folder, detectors, rows = exports
    np.save(tmp_path / "x.npy", rows["image"])
    cli = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli"]
    options = ["--dir", str(folder / "image"), "--tag_set", "serve"]
    process = subprocess.run(
        [*cli, "run", *options, "--signature_def", "serving_default"]
        + ["--inputs", f"inputs={tmp_path / 'x.npy'}", "--outdir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    expected = detectors["image"].predict(rows["image"])
    for name in ("energy", "accept", "class_id"):
        found = np.load(tmp_path / f"{name}.npy")
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-5)
