import concurrent.futures
import dataclasses
import hashlib
import io
import json
import os
import threading

import numpy as np
import pytest
import tensorflow as tf

from keras_ebm import ood
from keras_ebm.digests import array_digest
from keras_ebm.explain import Explainer
from keras_ebm.export.common import ExportSettings, fit_detector, fit_explainer
from keras_ebm.export.predict import find_version
from keras_ebm.ood import ConformalDetector, Detector
from keras_ebm.serving import export, export_classifier, export_ood_scorer
from keras_ebm.serving.export import CARD, model_card
from keras_ebm.trainers.program import json_files, keras_files
from keras_ebm.trainers.run.record import recall
from keras_ebm.trainers.settings import data

SCORER = {"energy", "ood_score", "p_value", "accept", "reason"}
CLASSIFIER = SCORER | {"class_id", "label", "probabilities"}


@pytest.fixture(scope="module")
def served(start, digits_model, tmp_path_factory):
    """Folders of a classifier and of a scorer that the two programs wrote."""
    folder = tmp_path_factory.mktemp("served")
    programs = {}
    for name in ("classifier", "ood_scorer"):
        programs[name] = start(
            f"export.{name}",
            *[f"--model={digits_model}", "--calibration=digits"],
            *["--target_fpr=0.05", f"--output={folder / name}"],
        )
    for name, program in programs.items():
        out, err = program.communicate()
        assert (program.returncode, err) == (0, ""), err
        assert f"{folder / name}/1" in out and "179 calibration rows" in out
    return folder


@pytest.fixture(scope="module")
def test_rows(digits_model):
    return recall(digits_model).rows("test")


@pytest.fixture(scope="module")
def detector(digits_model):
    settings = ExportSettings(digits_model, "digits", target_fpr=0.05)
    return fit_detector(settings)[0]


def load(path):
    return tf.saved_model.load(str(path))


def ask(signature, **request):
    request = {name: tf.constant(value) for name, value in request.items()}
    return {name: value.numpy() for name, value in signature(**request).items()}


def signatures(path):
    loaded = load(path)
    return loaded, loaded.signatures


@pytest.mark.parametrize(
    "name, outputs", [("classifier", CLASSIFIER), ("ood_scorer", SCORER)]
)
def test_outputs_are_named_and_every_axis_0_is_a_batch(served, name, outputs):
    loaded, found = signatures(served / name / "1")
    whole = {"serving_default", "at_rate", "encoded", "examples"}
    interfaces = {"classify": {"classes", "scores"}, "regress": {"outputs"}}
    if name == "ood_scorer":
        del interfaces["classify"]
    assert set(found) == whole | interfaces.keys()
    for key, signature in found.items():
        assert set(signature.structured_outputs) == interfaces.get(key, outputs)
        # TF Serving's row format joins instances along the first axis of all.
        tensors = [
            *signature.structured_input_signature[1].values(),
            *signature.structured_outputs.values(),
        ]
        assert all(tensor.shape[0] is None for tensor in tensors)
    card = json.loads((served / name / "1/assets.extra/keras_ebm.json").read_text())
    assert set(card["outputs"]) == outputs
    assert card["calibration_rows"] == 179 and card["target_fpr"] == 0.05
    held_out = card["about"]["held_out"]
    assert held_out["num_rows"] == 361
    assert (
        held_out["refused_low"] < held_out["refused_share"] < held_out["refused_high"]
    )
    page = (served / name / "1/assets.extra/card.html").read_text()
    assert f'<data value="{held_out["refused_share"]!r}">' in page
    assert card["about"]["data"]["fingerprint"] in page


@pytest.mark.parametrize("batch", [1, 7])
def test_a_batch_of_any_size_gets_the_frameworks_answers(
    served, detector, test_rows, batch
):
    loaded, found = signatures(served / "classifier" / "1")
    x = test_rows[0][:batch]
    answers = ask(found["serving_default"], inputs=x)
    logits = np.asarray(detector.model.logits(x), np.float64)
    energy = -np.log(np.exp(logits).sum(axis=-1))
    # float32 against float64: a few units in the last place of about 10 nats.
    np.testing.assert_allclose(answers["energy"], energy, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(answers["ood_score"], energy, rtol=1e-4, atol=1e-4)
    tempered = logits / detector.model.temperature
    softmax = np.exp(tempered) / np.exp(tempered).sum(axis=-1, keepdims=True)
    rate = detector.model.lapse_rate
    p = (1 - rate) * softmax + rate / 10
    np.testing.assert_allclose(answers["probabilities"], p, atol=1e-4)
    np.testing.assert_array_equal(answers["class_id"], logits.argmax(-1))
    assert [name.decode() for name in answers["label"]] == [
        str(digit) for digit in logits.argmax(-1)
    ]
    assert answers["accept"].dtype == bool
    expected = detector.predict(x)
    np.testing.assert_array_equal(answers["accept"], expected["accept"])
    # One calibration score may lie within rounding of a score.
    np.testing.assert_allclose(answers["p_value"], expected["p_value"], atol=1.1 / 180)


def test_p_values_are_counts_of_the_calibration_rows(served, test_rows):
    loaded, found = signatures(served / "ood_scorer" / "1")
    answers = ask(found["serving_default"], inputs=test_rows[0][:50])
    counts = answers["p_value"] * 180
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-3)


def test_false_alarms_on_the_test_split_are_within_the_conformal_band(
    served, test_rows
):
    loaded, found = signatures(served / "classifier" / "1")
    x, _ = test_rows
    refused = np.mean(~ask(found["serving_default"], inputs=x)["accept"])
    low, high = ood.conformal_band(0.05, 179, len(x), level=0.999)
    assert low <= refused <= high


def test_each_row_may_ask_for_its_own_rate(served, test_rows):
    loaded, found = signatures(served / "classifier" / "1")
    x = test_rows[0][:40]
    plain = ask(found["serving_default"], inputs=x)
    p = plain["p_value"]
    half = 0.5 / 180  # half a step of the p-values
    above = ask(found["at_rate"], inputs=x, target_fpr=p + np.float32(half))
    below = ask(found["at_rate"], inputs=x, target_fpr=p - np.float32(half))
    assert not above["accept"].any() and below["accept"].all()
    mixed = np.where(np.arange(40) % 2, p + half, p - half).astype(np.float32)
    accept = ask(found["at_rate"], inputs=x, target_fpr=mixed)["accept"]
    np.testing.assert_array_equal(accept, np.arange(40) % 2 == 0)
    default = ask(found["at_rate"], inputs=x, target_fpr=np.full(40, 0.05, "f4"))
    np.testing.assert_array_equal(default["accept"], plain["accept"])
    np.testing.assert_array_equal(default["energy"], plain["energy"])


def encode(array, form):
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.fromarray(array).save(file, form)
    return file.getvalue()


def test_encoded_images_get_the_answers_of_their_pixels(served, test_rows):
    loaded, found = signatures(served / "classifier" / "1")
    grey = test_rows[0][0, ..., 0]
    flat = np.full((8, 8), 77, np.uint8)
    contents = [
        (encode(grey, "PNG"), grey),
        (encode(np.stack([grey] * 3, axis=-1), "PNG"), grey),
        # One colour survives JPEG and any resizing as it is.
        (encode(flat, "JPEG"), flat),
        (encode(np.full((50, 31), 77, np.uint8), "PNG"), flat),
        (encode(np.full((5, 3), 77, np.uint8), "JPEG"), flat),
    ]
    pixels = np.stack([pixels for _, pixels in contents])[..., None]
    raw = ask(found["serving_default"], inputs=pixels)
    answers = ask(found["encoded"], images=[content for content, _ in contents])
    for name in CLASSIFIER:
        if answers[name].dtype.kind == "f":
            np.testing.assert_allclose(answers[name], raw[name], atol=1e-5)
        else:
            np.testing.assert_array_equal(answers[name], raw[name])


def test_a_larger_picture_is_averaged_down(served, test_rows):
    loaded, found = signatures(served / "classifier" / "1")
    x = test_rows[0][:20]
    large = [encode(np.kron(i[..., 0], np.ones((4, 4), "u1")), "PNG") for i in x]
    answers = ask(found["encoded"], images=large)
    raw = ask(found["serving_default"], inputs=x)
    # The antialiasing filter spreads a little into the neighbours.
    assert np.mean(answers["class_id"] == raw["class_id"]) >= 0.9


def test_the_next_export_is_version_2(detector, test_rows, tmp_path):
    output = tmp_path / "deep" / "model"
    first = export_ood_scorer(detector, output, test_rows[0][:20])
    second = export_classifier(detector, output, test_rows[0][:20])
    assert (first, second) == (output / "1", output / "2")
    assert set(os.listdir(output)) == {"1", "2"}
    assert os.listdir(output.parent) == ["model"]
    loaded, found = signatures(output / "1")
    assert set(found["serving_default"].structured_outputs) == SCORER


def test_exports_at_once_each_get_a_number_and_lose_nothing(tmp_path):
    stagings = [tmp_path / name for name in "abc"]
    for staging in stagings:
        staging.mkdir()
        (staging / "saved_model.pb").write_text(staging.name)
    start = threading.Barrier(len(stagings))

    def publish(staging):
        start.wait()
        return export.publish(staging, tmp_path / "model")

    with concurrent.futures.ThreadPoolExecutor() as pool:
        paths = list(pool.map(publish, stagings))
    assert sorted(path.name for path in paths) == ["1", "2", "3"]
    found = [(path / "saved_model.pb").read_text() for path in paths]
    assert found == ["a", "b", "c"]


def test_a_number_that_is_taken_meanwhile_costs_no_work(tmp_path, monkeypatch):
    for name in ("model/1", "model/2", "saved"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    # What a look at the folder gives before the other export has its number.
    looks = iter([[1], [1, 2]])
    monkeypatch.setattr(export, "versions", lambda folder: next(looks))
    path = export.publish(tmp_path / "saved", tmp_path / "model")
    assert path == tmp_path / "model/3" and (path / "file").is_file()


def test_an_export_is_on_the_disk_before_it_has_its_name(
    detector, test_rows, tmp_path, monkeypatch
):
    synced, at_rename = set(), []

    def sync(descriptor, real=os.fsync):
        synced.add(os.fstat(descriptor).st_ino)
        real(descriptor)

    def rename(source, target, real=os.rename):
        inodes = {path.stat().st_ino for path in (source, *source.rglob("*"))}
        at_rename.append(inodes - synced)
        synced.clear()
        real(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", rename)
    path = export_ood_scorer(detector, tmp_path / "model", test_rows[0][:2])
    assert at_rename == [set()] and len(list(path.rglob("*"))) >= 6
    assert path.parent.stat().st_ino in synced


@pytest.mark.parametrize(
    "name, number",
    [
        ("7", 7),
        ("007", 7),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("²", None),
        ("٣", None),
        ("-1", None),
        (".1", None),
    ],
)
def test_a_version_is_what_tf_serving_reads_as_a_number(tmp_path, name, number):
    path = tmp_path / name
    (path / export.CARD).parent.mkdir(parents=True)
    (path / export.CARD).touch()
    assert export.version_number(path) == number
    if number is not None:
        assert find_version(tmp_path) == path
        return
    with pytest.raises(ValueError, match="numbered versions alone"):
        export.next_version(tmp_path)
    with pytest.raises(ValueError, match="there is no export"):
        find_version(tmp_path)


def test_no_version_comes_after_the_last(tmp_path):
    (tmp_path / str(2**63 - 1)).mkdir()
    with pytest.raises(ValueError, match="a number left for the next version"):
        export.next_version(tmp_path)


@pytest.mark.parametrize("score", ["knn", "energy+class_gaussian", "approximate_mass"])
def test_other_scores_are_served_as_the_framework_gives_them(
    digits_model, test_rows, tmp_path, score
):
    settings = ExportSettings(digits_model, "digits", score=score, target_fpr=0.05)
    detector, rows = fit_detector(settings)
    loaded, found = signatures(export_ood_scorer(detector, tmp_path / "m", rows))
    x, _ = test_rows
    answers = ask(found["serving_default"], inputs=x)
    run, model = recall(digits_model), detector.model
    names = ("logits", "features", "gradient_norm")
    parts = [
        ood.network_outputs(model, *run.rows(part), requires=names)
        for part in ("train", "validation")
    ]
    expected = ood.make_score(score).fit(*parts)
    expected = expected.predict(ood.network_outputs(model, x, requires=names))
    limit = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(answers["ood_score"], expected, atol=limit)
    low, high = ood.conformal_band(0.05, 179, len(x), level=0.999)
    assert low <= np.mean(~answers["accept"]) <= high


def test_the_gradient_score_is_the_norm_of_the_energys_gradient(
    digits_model, test_rows, tmp_path
):
    settings = ExportSettings(
        digits_model, "digits", score="approximate_mass", target_fpr=0.05
    )
    detector, rows = fit_detector(settings)
    model = detector.model
    x = tf.constant(model.preprocess(test_rows[0][:9]))
    with tf.GradientTape() as tape:
        tape.watch(x)
        energy = -tf.reduce_logsumexp(model.network(x), axis=-1)
    gradient = tape.gradient(energy, x).numpy().reshape(9, -1)
    score = detector.predict(test_rows[0][:9])["ood_score"]
    np.testing.assert_allclose(score, np.linalg.norm(gradient, axis=1), rtol=1e-4)


def test_per_class_thresholds_are_those_of_the_predicted_class(
    digits_model, test_rows, tmp_path
):
    settings = ExportSettings(digits_model, "digits", per_class=True, target_fpr=0.2)
    detector, rows = fit_detector(settings)
    loaded, found = signatures(export_classifier(detector, tmp_path / "m", rows))
    answers = ask(found["serving_default"], inputs=test_rows[0])
    calibration = detector.predict(rows)
    for digit in range(10):
        mine = answers["class_id"] == digit
        scores = calibration["ood_score"][calibration["class_id"] == digit]
        above = (scores[None] >= answers["ood_score"][mine][:, None]).sum(axis=1)
        # The one step is for scores equal within rounding.
        step = 1.1 / (len(scores) + 1)
        p_value = (1 + above) / (len(scores) + 1)
        np.testing.assert_allclose(answers["p_value"][mine], p_value, atol=step)
    assert len(set(detector.conformal.threshold(0.2))) > 1
    counts = json_files.read_json(tmp_path / "m" / "1" / CARD)[
        "calibration_rows_by_class"
    ]
    classes = calibration["class_id"]
    assert counts == [int(np.sum(classes == digit)) for digit in range(10)]


def test_a_table_is_asked_by_the_names_of_its_columns(table_export):
    path, detector = table_export
    loaded, found = signatures(path)
    assert set(found) == {
        *("serving_default", "at_rate", "text", "examples", "classify", "regress")
    }
    request = {
        "age": np.array([50, 30, 41, 50, 50, 50], np.float32),
        "income__k_": np.array([2, 3, np.nan, 2, 2, 2], np.float32),
        "city": np.array([b"Wien", b"Linz", b"Graz", b"Oslo", b"", b" NA "]),
    }
    answers = ask(found["serving_default"], **request)
    # As read_csv codes them: Graz, Linz, Wien; -1 unknown, NaN missing.
    codes = [2, 1, 0, -1, np.nan, np.nan]
    rows = np.stack([request["age"], request["income__k_"], codes], axis=1)
    expected = detector.predict(rows.astype(np.float32))
    for name in ("energy", "p_value", "probabilities"):
        np.testing.assert_allclose(answers[name], expected[name], rtol=1e-4)
    np.testing.assert_array_equal(answers["label"], expected["label"])
    assert answers["label"].tolist()[:2] == [b"yes", b"no"]
    assert np.isfinite(answers["energy"]).all()
    assert answers["energy"][4] == answers["energy"][5]
    rates = np.full(6, 0.5, np.float32)
    at_rate = ask(found["at_rate"], **request, target_fpr=rates)
    np.testing.assert_array_equal(at_rate["accept"], answers["p_value"] > 0.5)


def test_a_gap_is_served_as_the_mean_and_an_infinite_cell_never_accepted(table_export):
    path, detector = table_export
    loaded, found = signatures(path)
    # No age was missing in training.
    mean = detector.model.preprocessor.mean[0]
    request = {
        "age": np.array([np.nan, mean, np.inf], np.float32),
        "income__k_": np.array([2, 2, 2], np.float32),
        "city": np.array([b"Wien", b"Wien", b"Wien"]),
    }
    for name, more in (
        ("serving_default", {}),
        ("at_rate", {"target_fpr": np.full(3, 0.1, np.float32)}),
    ):
        answers = ask(found[name], **request, **more)
        assert np.isfinite(answers["energy"][0])
        np.testing.assert_allclose(answers["energy"][0], answers["energy"][1])
        np.testing.assert_array_equal(answers["accept"], [True, True, False])
        reasons = [b"accepted", b"accepted", b"not a finite number"]
        np.testing.assert_array_equal(answers["reason"], reasons)


def test_an_answer_says_which_missing_numbers_were_filled_in(table_export):
    path, detector = table_export
    cells = {"age": [45, np.nan, 45, np.nan], "income__k_": [2, 2, np.nan, np.nan]}
    request = {name: np.float32(values) for name, values in cells.items()}
    # A missing word is a category of its own, for which nothing stands.
    request["city"] = np.array([b"", b"Wien", b"Wien", b"Wien"])
    answers = ask(signatures(path)[1]["serving_default"], **request)
    expected = [b"", b"age", b"income (k)", b"age, income (k)"]
    assert answers["filled"].tolist() == expected
    rows = np.stack([*request.values()][:2] + [np.zeros(4)], axis=1)
    assert detector.predict(rows.astype(np.float32))["filled"].tolist() == expected


def test_an_export_says_what_it_was_made_from(table_export, table):
    path, detector = table_export
    card = json_files.read_json(path / CARD)
    record = json_files.read_json(table[0] / "run.json")
    assert card["trained_on"] == record["split"]
    model = keras_files.load_model(table[0] / "model.keras")
    assert card["weights_sha256"] == array_digest(model.network.get_weights())
    assert card["files"] == {
        name: hashlib.sha256((path / name).read_bytes()).hexdigest()
        for name in (
            "fingerprint.pb",
            "saved_model.pb",
            "variables/variables.data-00000-of-00001",
            "variables/variables.index",
        )
    }
    other = ConformalDetector(detector.conformal.scores + 1.0)
    changed = Detector(model, detector.score, other, 0.1)
    hashes = [
        model_card(d, ())["calibration_sha256"] for d in (detector, changed, detector)
    ]
    assert hashes[0] == hashes[2] != hashes[1]


@pytest.mark.parametrize("age", [-1e6, 300.0, 1e6, 1.5e9])
def test_a_cell_far_outside_its_range_is_refused_with_a_reason(table_export, age):
    path, detector = table_export
    loaded, found = signatures(path)
    request = {
        "age": np.float32([age, 45]),
        "income__k_": np.float32([2, 2]),
        "city": np.array([b"Wien", b"Wien"]),
    }
    answers = ask(found["serving_default"], **request)
    np.testing.assert_array_equal(answers["accept"], [False, True])
    reasons = [b"outside the training range: age", b"accepted"]
    assert answers["reason"].tolist() == reasons
    assert answers["p_value"][0] == np.float32(1 / (detector.conformal.sizes[0] + 1))
    # The energy is that of a cell one width of the range outside of it.
    encoder = detector.model.preprocessor
    low, high = encoder.low[0], encoder.high[0]
    edge = 2 * high - low if age > 0 else 2 * low - high
    energy = ask(found["serving_default"], **{**request, "age": np.float32([edge] * 2)})
    np.testing.assert_allclose(answers["energy"][0], energy["energy"][0], rtol=1e-4)


@pytest.mark.parametrize("rate", [0.0, -1.0, -np.inf, 1e-9, np.nan])
def test_a_rate_that_cannot_be_kept_accepts_nothing_and_says_so(
    served, test_rows, rate
):
    loaded, found = signatures(served / "classifier" / "1")
    rates = np.full(len(test_rows[0]), rate, np.float32)
    answers = ask(found["at_rate"], inputs=test_rows[0], target_fpr=rates)
    assert not answers["accept"].any()
    assert set(answers["reason"]) == {
        b"target_fpr is below what the calibration rows can keep"
    }


def test_a_program_explains_a_table(table, run, tmp_path):
    workdir, spec = table
    flags = [f"--model={workdir / 'model.keras'}", f"--calibration={spec}"]
    flags += ["--target_fpr=0.1", "--explain", f"--output={tmp_path / 'm'}"]
    code, out, err = run("export.classifier", *flags)
    assert (code, err) == (0, ""), err
    loaded, found = signatures(tmp_path / "m" / "1")
    explained = {"explain", "acceptable"}
    assert set(found) == explained | {
        *("serving_default", "at_rate", "text", "examples", "classify", "regress")
    }
    run_data = recall(workdir / "model.keras")
    rows, _ = run_data.rows("calibration")
    cities = {0: b"Graz", 1: b"Linz", 2: b"Wien"}
    request = {
        "age": rows[:, 0],
        "income__k_": rows[:, 1],
        "city": np.array([cities.get(code, b"NA") for code in rows[:, 2]]),
    }
    before = ask(found["serving_default"], **request)
    # Of the rows that set the threshold it refuses those above it.
    refused = ~before["accept"]
    assert 0 < refused.sum() <= 0.1 * len(rows)
    why = ask(found["explain"], **request)
    np.testing.assert_allclose(why["energy"], before["energy"], rtol=1e-4)
    # The net is smooth, so that the quadrature leaves rounding alone.
    np.testing.assert_allclose(
        why["contributions"].sum(axis=1),
        why["energy"] - why["baseline_energy"],
        atol=1e-3,
    )
    change = ask(found["acceptable"], **request)
    assert change["found"].all()
    np.testing.assert_array_equal(change["distance"] > 0.0, refused)
    changed = {column: change[column] for column in request}
    assert ask(found["serving_default"], **changed)["accept"].all()
    ages = run_data.rows("train")[0][:, 0]
    moved = change["age"][refused]
    assert ages.min() <= moved.min() and moved.max() <= ages.max()
    np.testing.assert_array_equal(change["city"], request["city"])
    gaps = np.isnan(request["income__k_"])
    # No number is the largest float32, in answers and in requests.
    largest = np.finfo(np.float32).max
    assert gaps.any() and (change["income__k_"][gaps] == largest).all()


def test_images_are_not_explained(digits_model, detector):
    settings = ExportSettings(digits_model, "digits", target_fpr=0.05)
    with pytest.raises(ValueError, match="a model of table rows.*Rescaling"):
        fit_explainer(settings, detector)


def test_rows_that_training_saw_are_refused_with_their_number(
    digits_model, table, write_table, tmp_path
):
    run = recall(digits_model)
    seen, _ = run.rows("train")
    fresh, _ = run.rows("calibration")
    np.savez(tmp_path / "rows.npz", x=np.concatenate([fresh, seen[:30]]))
    settings = ExportSettings(digits_model, f"npz:{tmp_path / 'rows.npz'}")
    with pytest.raises(ValueError, match=r"209 rows 30 equal .*0 of the 540 rows"):
        fit_detector(settings)
    insisting = dataclasses.replace(settings, equal_rows=True)
    with pytest.warns(UserWarning, match="30 of the 209 rows"):
        assert len(fit_detector(insisting)[1]) == 209

    workdir, spec = table
    run = recall(workdir / "model.keras")
    frame = run.dataset.x[run.splits.validation]
    cities = dict(enumerate(("Graz", "Linz", "Wien")))
    cells = [[a, "" if np.isnan(b) else b, cities.get(c, "")] for a, b, c in frame]
    names = ["age", "income (k)", "city"]
    other = write_table(tmp_path / "seen.csv", cells, names)
    with pytest.raises(ValueError, match=f"{len(cells)} rows {len(cells)} equal"):
        fit_detector(ExportSettings(str(workdir / "model.keras"), other))


def test_gaps_and_long_numbers_are_taken_in_any_part_and_served(
    train, run, write_table, tmp_path
):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 200)
    when = 1_700_000_000_000 + rng.permutation(3_600_000)[:200]
    age = (40 + 10 * label + rng.normal(size=200)).round(2).astype(str)
    names = ["when", "age", "class"]

    def write(name, cells):
        rows = np.column_stack([when, cells, np.where(label, "yes", "no")])
        return write_table(tmp_path / name, rows.tolist(), names)

    parts = data.load(data.DataSettings(dataset=write("full.csv", age))).splits
    for part in ("validation", "calibration", "test"):
        age[getattr(parts, part)[:2]] = ""
    spec = write("gaps.csv", age)
    _, metrics = train(tmp_path / "run", spec, fit={"epochs": 2})
    assert all(np.isfinite(list(metrics.values())))
    model = str(tmp_path / "run" / "model.keras")
    detector, rows = fit_detector(ExportSettings(model, spec, target_fpr=0.1))
    assert np.isnan(rows).any() and rows.dtype == np.float64
    assert not any(detector.model.preprocessor.missing)
    explainer = Explainer.for_detector(detector, rows)
    path = export_classifier(detector, tmp_path / "served", rows, explainer=explainer)
    loaded, found = signatures(path)
    # A millisecond apart, which float32 would take for the same time.
    request = {"when": when[0] + np.arange(3.0), "age": np.float32([40, np.nan, 40])}
    answers = ask(found["serving_default"], **request)
    expected = detector.predict(np.stack([request["when"], request["age"]], axis=1))
    np.testing.assert_allclose(answers["energy"], expected["energy"], rtol=1e-4)
    assert len(set(answers["energy"])) == 3
    changed = ask(found["acceptable"], **request)
    assert changed["when"].dtype == np.float64 and changed["age"].dtype == np.float32
    output = tmp_path / "answers.csv"
    flags = [f"--model={path}", f"--dataset={spec}", f"--output={output}"]
    code, out, err = run("export.predict", *flags)
    assert (code, err) == (0, "") and "200 rows" in out


def test_rows_that_are_equal_by_chance_calibrate(train, write_table, tmp_path):
    # Three columns of three words: every row occurs among those of training.
    words, rng = np.array(["low", "mid", "high"]), np.random.default_rng(0)
    tables = []
    for name, count in (("old", 300), ("new", 200)):
        cells = words[rng.integers(0, 3, (count, 3))]
        label = np.where(cells[:, 0] == "low", "no", "yes")
        rows = np.column_stack([cells, label])
        names = ["a", "b", "c", "class"]
        tables.append(write_table(tmp_path / f"{name}.csv", rows.tolist(), names))
    train(tmp_path / "run", tables[0])
    model = str(tmp_path / "run" / "model.keras")
    settings = ExportSettings(model, tables[1], target_fpr=0.1)
    with pytest.warns(UserWarning, match=r"200 of the 200 rows .*90 of the 90 rows"):
        _, rows = fit_detector(settings)
    assert len(rows) == 200
    # A run of an earlier version does not know how many are equal by chance.
    record = json_files.read_json(tmp_path / "run" / "run.json")
    del record["equal_rows"]
    json_files.write_json(tmp_path / "run" / "run.json", record)
    with pytest.raises(ValueError, match="200 rows 200 equal .*earlier version"):
        fit_detector(settings)


def test_rows_of_other_files_calibrate(table, write_table, new_table_rows, tmp_path):
    workdir, _ = table
    other = write_table(tmp_path / "new.csv", new_table_rows(150, seed=5))
    settings = ExportSettings(str(workdir / "model.keras"), other, target_fpr=0.05)
    detector, rows = fit_detector(settings)
    assert len(rows) == 150 and detector.conformal.sizes.sum() == 150


def test_the_recorded_rows_calibrate(digits_model, detector):
    run = recall(digits_model)
    rows = run.dataset.x[run.splits.calibration]
    scores = np.sort(detector.model.energy(rows).numpy())
    np.testing.assert_allclose(detector.conformal.scores, scores, rtol=1e-5)


def test_a_rate_too_small_for_the_rows_is_refused(digits_model):
    settings = ExportSettings(digits_model, "digits", target_fpr=0.001)
    with pytest.raises(ValueError, match="which needs 999 rows"):
        fit_detector(settings)


def test_a_density_has_a_scorer_and_no_classifier(train, tmp_path):
    train(tmp_path / "run", "toy:moons", train_size=256)
    settings = ExportSettings(str(tmp_path / "run" / "model.keras"), "toy:moons")
    detector, rows = fit_detector(settings)
    with pytest.raises(ValueError, match="export_ood_scorer"):
        export_classifier(detector, tmp_path / "m", rows)
    loaded, found = signatures(export_ood_scorer(detector, tmp_path / "m", rows))
    assert set(found) == {"serving_default", "at_rate", "examples", "regress"}
    answers = ask(found["serving_default"], inputs=rows[:3])
    np.testing.assert_allclose(
        answers["energy"], detector.model.energy(rows[:3]), rtol=1e-4, atol=1e-4
    )
    assert keras_files.load_model(settings.model).num_classes == 1
