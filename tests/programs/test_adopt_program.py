"""`trainers.adopt`, of networks and of bodies, and what is done with what it makes."""

import dataclasses
import json
import re
from pathlib import Path

import foreign_rows
import keras
import numpy as np
import pytest
import tensorflow as tf
from foreign_layers import Twice
from keras import layers

from keras_ebm import data
from keras_ebm.export.common import ExportSettings, calibration_rows, fit_detector
from keras_ebm.export.predict import PredictSettings, answer, read_card, read_request
from keras_ebm.serving import export_classifier
from keras_ebm.trainers import adopt as adoption
from keras_ebm.trainers import langevin, vera
from keras_ebm.trainers.evaluate import EvaluateSettings, evaluate
from keras_ebm.trainers.program import keras_files
from keras_ebm.trainers.program.imports import ImportSettings
from keras_ebm.trainers.run import bodies
from keras_ebm.trainers.run.dry_run import dry_run
from keras_ebm.trainers.run.record import recall
from keras_ebm.trainers.settings.adoption import AdoptSettings, fresh_splits
from keras_ebm.trainers.settings.chains import ChainSettings
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.starting import build_body
from keras_ebm.trainers.settings.vera import ModelSettings, build_model

SEVERAL, OTHERS = "python:foreign_rows:several", "python:foreign_rows:others"
PICTURES, POINTS = "python:foreign_rows:pictures", "python:foreign_rows:points"


def of_pictures(num_classes=3, size=8):
    inputs = keras.Input((size, size, 1))
    x = layers.Flatten()(layers.Rescaling(1 / 255.0)(inputs))
    x = layers.Dense(8, "relu")(x)
    return keras.Model(inputs, layers.Dense(num_classes, "softmax")(x), name="net")


def of_several(num_classes=2):
    """A network of words, a number and tokens, trained a little."""
    words = keras.Input((), dtype="string", name="words")
    age = keras.Input((1,), name="age")
    tokens = keras.Input((3,), dtype="int32", name="tokens")
    x, y = foreign_rows.several()
    text = layers.TextVectorization(output_mode="multi_hot", max_tokens=6)
    text.adapt(tf.constant(list(x["words"])))
    embedded = layers.Flatten()(layers.Embedding(8, 2)(tokens))
    h = layers.Concatenate()([text(words), age, embedded])
    h = layers.Dense(8, "relu")(h)
    outputs = layers.Dense(num_classes, "softmax")(h)
    return keras.Model({"words": words, "age": age, "tokens": tokens}, outputs)


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """Folder of saved networks."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("nets")
    pictures, several = of_pictures(), of_several()
    pictures.save(folder / "pictures.keras")
    pictures.save(folder / "pictures.h5")
    points = [keras.Input((3,)), layers.Dense(4, "relu"), layers.Dense(2)]
    keras.Sequential(points).save(folder / "points.keras")
    several.save(folder / "several.keras")
    keras.Sequential([keras.Input((3,)), Twice(), layers.Dense(2)]).save(
        folder / "own.keras"
    )
    keras.Sequential(
        [keras.Input((3,)), layers.Lambda(lambda x: 2 * x), layers.Dense(2)]
    ).save(folder / "lambda.keras")
    return folder


def adopt(network, dataset, workdir, holdout=(), **settings):
    """Adopts in this process: `(model, metrics)`."""
    rows = DataSettings(dataset=dataset, holdout_classes=holdout)
    settings = AdoptSettings(network=str(network), workdir=str(workdir), **settings)
    return adoption.prepare(rows, settings).perform()


@pytest.fixture(scope="module")
def adopted(nets, tmp_path_factory):
    """Run folder of the network of several inputs."""
    workdir = tmp_path_factory.mktemp("adopted")
    adopt(nets / "several.keras", SEVERAL, workdir)
    return workdir


@pytest.fixture(scope="module")
def adopted_pictures(nets, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("adopted_pictures")
    adopt(nets / "pictures.keras", PICTURES, workdir)
    return workdir


@pytest.mark.parametrize(
    "file, dataset",
    [
        ("pictures.keras", PICTURES),
        ("pictures.h5", PICTURES),
        ("points.keras", POINTS),
        ("several.keras", SEVERAL),
    ],
)
def test_an_adopted_network_answers_as_before(nets, tmp_path, file, dataset):
    model, metrics = adopt(nets / file, dataset, tmp_path)
    x, y = recall(tmp_path / "model.keras").rows("test")
    network = keras.saving.load_model(nets / file, compile=False)
    own = network(_tensors(x)).numpy()
    if file == "points.keras":
        own = keras.ops.softmax(own)
    given = np.asarray(model.probabilities(_tensors(x)))
    np.testing.assert_allclose(given, own, atol=1e-5)
    assert metrics["accuracy"] == np.mean(np.argmax(own, axis=-1) == y)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics


def _tensors(x):
    if isinstance(x, dict):
        x = {**x, "age": x["age"][:, None]}
        return {name: tf.constant(part) for name, part in x.items()}
    return tf.constant(x)


@pytest.mark.parametrize(
    "file, dataset, told",
    [
        ("pictures.keras", "digits", "must have the 10 classes of digits, .*with 3"),
        ("points.keras", PICTURES, "must take images"),
        ("pictures.keras", POINTS, r"inputs .*\(8, 8, 1\) for rows of.*\(3,\)"),
        ("several.keras", POINTS, r"words \(\) of strings.*by their names"),
        ("points.keras", SEVERAL, r"\(3,\) for rows of.*age \(\)"),
        ("absent.keras", POINTS, "absent.keras, which does not exist"),
    ],
)
def test_rows_that_a_network_does_not_take_are_refused(
    nets, tmp_path, file, dataset, told
):
    with pytest.raises(ValueError, match=told):
        adopt(nets / file, dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_table_is_refused(nets, tmp_path, write_table, new_table_rows):
    spec = write_table(tmp_path / "rows.csv", new_table_rows(40))
    with pytest.raises(ValueError, match="Received: a table.*python:MODULE:FUNCTION"):
        adopt(nets / "points.keras", spec, tmp_path / "run")


def test_calibration_rows_are_fresh():
    split = data.load("python:foreign_rows:split_pictures")
    for fresh in ("auto", "test"):
        parts = fresh_splits(split, fresh, seed=0)
        assert len(parts.train) == 120 and parts.train.max() == 119
        rows = np.concatenate([parts.validation, parts.calibration, parts.test])
        np.testing.assert_array_equal(np.sort(rows), np.arange(120, 160))
        assert [len(parts.validation), len(parts.calibration)] == [4, 12]
    every, usual = fresh_splits(split, "all", 0), data.make_splits(split, seed=0)
    np.testing.assert_array_equal(every.calibration, usual.calibration)
    whole = data.load(PICTURES)
    usual = data.make_splits(whole, seed=0)
    for fresh in ("auto", "all"):
        found = fresh_splits(whole, fresh, seed=0).calibration
        np.testing.assert_array_equal(found, usual.calibration)
    held = fresh_splits(split, "auto", seed=0, holdout_classes=("2",), train_size=50)
    assert np.all(split.y[held.holdout] == 2) and held.holdout.min() >= 120
    known = [held.train, held.validation, held.calibration, held.test]
    assert not np.any(split.y[np.concatenate(known)] == 2)
    assert sum(map(len, known)) + len(held.holdout) == 50 + 40
    with pytest.raises(ValueError, match="which has none; use fresh=all"):
        fresh_splits(whole, "test", seed=0)


def test_the_record_tells_of_each_input(adopted):
    record = json.loads((adopted / "run.json").read_text())
    assert record["kind"] == "inputs"
    assert record["input_shape"] == {"age": [], "tokens": [3], "words": []}
    types = {"age": "float32", "tokens": "int64", "words": "object"}
    assert record["dtype"] == types
    run = recall(adopted / "model.keras")
    assert run.dataset.kind == "inputs" and len(run.rows("calibration")[1]) == 12


def test_other_rows_at_every_call_are_found_out(nets, tmp_path):
    adopt(nets / "several.keras", "python:foreign_rows:shuffled", tmp_path)
    with pytest.raises(ValueError, match="must return the same rows in the same order"):
        recall(tmp_path / "model.keras")


def test_several_inputs_are_evaluated(adopted):
    settings = {"model": str(adopted / "model.keras"), "resamples": 5}
    known = EvaluateSettings(dataset=SEVERAL, **settings)
    results = evaluate(known, [OTHERS])
    recorded = json.loads((adopted / "metrics.json").read_text())
    assert results["accuracy"] == pytest.approx(recorded["accuracy"])
    assert results["ood"][OTHERS]["energy"]["num_foreign"] == 60
    assert {"knn", "class_gaussian"} <= set(results["ood"][OTHERS])
    other = EvaluateSettings(dataset=OTHERS, scores="energy", **settings)
    assert evaluate(other, [])["num_known"] == 60
    for spec in ("noise:uniform", "rotate:90"):
        with pytest.raises(ValueError, match=f"{spec}.*inputs of a network's own"):
            evaluate(known, [spec])
    with pytest.raises(ValueError, match="stand-ins can be made.*a dict"):
        evaluate(EvaluateSettings(dataset=SEVERAL, choose_score=True, **settings), [])


def test_held_out_classes_of_several_inputs_are_a_foreign_set(nets, tmp_path):
    dataset = "python:foreign_rows:three"
    adopt(nets / "several.keras", dataset, tmp_path, holdout=("perhaps",))
    settings = EvaluateSettings(
        model=str(tmp_path / "model.keras"), dataset=dataset, resamples=5
    )
    results = evaluate(settings, ["holdout"])
    assert results["ood"]["holdout"]["energy"]["num_foreign"] == 50


def test_several_inputs_are_exported_and_answered(adopted, tmp_path):
    model = str(adopted / "model.keras")
    own = calibration_rows(ExportSettings(model, SEVERAL))
    assert len(own["age"]) == 12
    detector, rows = fit_detector(ExportSettings(model, OTHERS, target_fpr=0.1))
    assert len(rows["words"]) == 60
    path = export_classifier(detector, tmp_path / "served", rows)
    signature = tf.saved_model.load(path).signatures["serving_default"]
    specs, card = signature.structured_input_signature[1], read_card(Path(path))
    request, _ = read_request(PredictSettings(dataset=OTHERS), card, specs)
    answers = answer(signature, request)
    expected = detector.predict(data.load(OTHERS).x)
    np.testing.assert_allclose(answers["energy"], expected["energy"], atol=1e-5)
    np.testing.assert_array_equal(answers["accept"], expected["accept"])
    with pytest.raises(ValueError, match="npz:PATH .*or python:MODULE:FUNCTION"):
        read_request(PredictSettings(dataset="digits"), card, specs)


def test_rows_that_training_saw_are_told_of_several_inputs(adopted, monkeypatch):
    settings = ExportSettings(str(adopted / "model.keras"), OTHERS)
    assert len(calibration_rows(settings)["age"]) == 60
    x, y = foreign_rows.several()
    half = {name: part[:40] for name, part in x.items()}
    monkeypatch.setattr(foreign_rows, "half", lambda: (half, y[:40]), False)
    settings = ExportSettings(str(adopted / "model.keras"), "python:foreign_rows:half")
    with pytest.raises(ValueError, match="of whose 40 rows .* equal one of theirs"):
        calibration_rows(settings)


def train(program, workdir, dataset, settings, **fit):
    rows = load(DataSettings(dataset=dataset))
    fit = {"epochs": 1, "batch_size": 32, "tensorboard": False, "verbose": 0, **fit}
    fit = program.FitSettings(workdir=str(workdir), fit_temperature=False, **fit)
    return program.train(rows, settings, fit)


def test_several_inputs_are_trained_on_without_negatives(adopted, tmp_path):
    init = str(adopted / "model.keras")
    settings = ModelSettings(init=init, negatives="none", learning_rate=0.01)
    model, metrics = train(vera, tmp_path, SEVERAL, settings, epochs=6)
    before = json.loads((adopted / "metrics.json").read_text())
    assert metrics["nll"] < before["nll"] and metrics["accuracy"] > 0.8
    assert (tmp_path / "history.csv").is_file() and model.preprocessor is None
    rows = DataSettings(dataset=SEVERAL)
    cost = dry_run(rows, settings, vera.FitSettings(), build_model)
    assert cost["flops_step"] > cost["flops_energy"] > 0


@pytest.mark.parametrize(
    "program, settings, told",
    [
        (vera, ModelSettings(), "keras-ebm adopt --network.*--init=DIR"),
        (langevin, ChainSettings(), "keras-ebm adopt --network.*--init=DIR"),
        (vera, "generator", "negatives=generator` needs.*negatives=none"),
        (vera, "shuffle", "negatives=shuffle` needs a network of one input"),
        (langevin, "chains", "`negatives` needs a network of one input"),
    ],
)
def test_negatives_of_several_inputs_are_refused(
    adopted, tmp_path, program, settings, told
):
    init = str(adopted / "model.keras")
    if settings == "chains":
        settings = ChainSettings(init=init)
    elif isinstance(settings, str):
        settings = ModelSettings(init=init, negatives=settings)
    with pytest.raises(ValueError, match=told):
        train(program, tmp_path / "run", SEVERAL, settings)


SMALL = {"learning_rate": 1e-12}


@pytest.mark.parametrize(
    "program, settings",
    [
        (
            vera,
            {"settings": ModelSettings, "latent_dim": 2, "generator_hidden": ("8",)},
        ),
        (langevin, {"settings": ChainSettings, "num_steps": 1}),
    ],
)
def test_training_starts_from_adopted_weights(
    adopted_pictures, tmp_path, program, settings
):
    init = str(adopted_pictures / "model.keras")
    kind = settings.pop("settings")
    settings = kind(init=init, **SMALL, **settings)
    model, _ = train(program, tmp_path / "run", PICTURES, settings, steps=1)
    x = foreign_rows.pictures(20, seed=5)[0]
    before = keras_files.load_model(init).logits(x)
    np.testing.assert_allclose(model.logits(x), before, atol=1e-6)
    with pytest.raises(ValueError, match="`init` must have the 10 outputs.*3"):
        train(program, tmp_path / "other", "digits", settings, steps=1)


def test_a_network_of_ones_own_is_exported_when_it_is_adopted(nets):
    with pytest.raises(ValueError, match="is adopted by `keras-ebm adopt"):
        fit_detector(ExportSettings(str(nets / "pictures.keras"), PICTURES))


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    path = tmp_path_factory.mktemp("body") / "body.keras"
    keras.Model(inputs, layers.GlobalAveragePooling2D()(x)).save(path)
    return path


def head(body, **settings):
    return ModelSettings(
        backbone=str(body), negatives="none", hidden=("8",), pixels="unit", **settings
    )


@pytest.fixture(scope="module")
def headed(body, tmp_path_factory):
    """Run folder of a head on the body, with its model and metrics."""
    workdir = tmp_path_factory.mktemp("headed")
    settings = head(body, learning_rate=0.05)
    return workdir, *train(vera, workdir, PICTURES, settings, epochs=8)


def test_features_of_a_body_are_computed_once(body, headed):
    workdir = headed[0]
    (kept,) = (workdir / "features").iterdir()
    written = kept.stat().st_mtime_ns
    fit = vera.FitSettings(workdir=str(workdir), batch_size=32)
    rows = load(DataSettings(dataset=PICTURES))
    vera.prepare(rows, head(body, learning_rate=0.01), fit)
    assert [*(workdir / "features").iterdir()] == [kept]
    assert kept.stat().st_mtime_ns == written


def test_a_head_is_saved_and_exported_with_its_body(headed, tmp_path):
    workdir, model, metrics = headed
    assert metrics["accuracy"] > 0.5
    path = str(workdir / "model.keras")
    settings = EvaluateSettings(model=path, dataset=PICTURES, scores="energy")
    assert evaluate(settings, [])["accuracy"] == pytest.approx(metrics["accuracy"])
    detector, rows = fit_detector(ExportSettings(path, PICTURES, target_fpr=0.1))
    assert rows.dtype == np.uint8 and rows.shape[1:] == (8, 8, 1)
    served = export_classifier(detector, tmp_path / "served", rows)
    signature = tf.saved_model.load(served).signatures["serving_default"]
    (spec,) = signature.structured_input_signature[1].values()
    assert spec.dtype == tf.uint8
    energy = answer(signature, {spec.name: rows})["energy"]
    np.testing.assert_allclose(energy, model.energy(rows), atol=1e-4)


def test_pictures_are_not_moved_before_a_frozen_body(body, tmp_path):
    with pytest.raises(ValueError, match="`augment` must be none, as the features"):
        train(vera, tmp_path, PICTURES, head(body), augment="crop")


def test_mirrored_images_train_beside_the_others(body, tmp_path):
    run = load(DataSettings(dataset=PICTURES))
    net = build_body(head(body), run.dataset)
    seen = bodies.of_features(run, net, tmp_path)
    more = bodies.with_mirrored(seen, run, net, tmp_path)
    x, y = more.rows("train")
    plain, labels = seen.rows("train")
    count = len(plain)
    np.testing.assert_array_equal(x[:count], plain)
    np.testing.assert_array_equal(y, np.concatenate([labels, labels]))
    images = run.rows("train")[0][:5]
    views = net(images[:, :, ::-1], training=False).numpy()
    np.testing.assert_allclose(x[count : count + 5], views, atol=1e-5)
    # What is measured and calibrated on stays as it is.
    for part in ("validation", "calibration", "test"):
        np.testing.assert_array_equal(more.rows(part)[0], seen.rows(part)[0])


def test_a_head_on_a_body_has_a_dry_run(body):
    fit = vera.FitSettings(batch_size=8)
    cost = dry_run(DataSettings(dataset=PICTURES), head(body), fit, build_model)
    # Four features to eight units to three classes.
    assert cost["parameters"] == 4 * 8 + 8 + 8 * 3 + 3


MODULES = "tests.programs"
OWN = f"--data={MODULES}.foreign_rows:points"


def test_flags_of_an_adoption_are_given_back(run, nets, tmp_path):
    flags = [f"--network={nets / 'own.keras'}", OWN, f"--workdir={tmp_path / 'first'}"]
    own = f"--import={MODULES}.foreign_layers,json"
    code, _, err = run("trainers.adopt", *flags, own)
    assert (code, err) == (0, "")
    written = tmp_path / "first" / "flags.txt"
    assert own in written.read_text().splitlines()
    again = [f"--flagfile={written}", f"--workdir={tmp_path / 'again'}"]
    code, _, err = run("trainers.adopt", *again)
    assert (code, err) == (0, "")
    texts = [(tmp_path / n / "flags.txt").read_text() for n in ("first", "again")]
    assert texts[0].replace("/first", "/again") == texts[1]


def test_a_class_that_is_not_known_is_to_be_imported(nets, tmp_path, monkeypatch):
    known = keras.saving.get_custom_objects()
    monkeypatch.delitem(known, "foreign>Twice")
    told = "the class 'Twice' is not known: pass --import=MODULE.*in foreign_layers"
    with pytest.raises(ValueError, match=told):
        adopt(nets / "own.keras", POINTS, tmp_path / "run")
    with pytest.raises(ValueError, match="--import: the module no_such_module must be"):
        data.import_module("no_such_module", "--import: the module no_such_module")


def test_texts_of_flags_are_sentences():
    for settings in (AdoptSettings, ImportSettings):
        for field in dataclasses.fields(settings):
            text = field.metadata["help"]
            assert re.fullmatch(r"[A-Z].{12,}?[.](.*[.])?", text), field.name


def test_a_lambda_is_told_what_to_do(nets, tmp_path):
    with pytest.raises(ValueError, match="(?s)a Lambda layer.*keras.ops.*--import"):
        adopt(nets / "lambda.keras", POINTS, tmp_path)


def test_a_run_starts_with_plain_epochs(tmp_path):
    settings = ModelSettings(
        hidden=("8",), latent_dim=2, generator_hidden=("8",), importance_samples=2
    )
    fit = {"epochs": 2, "plain_epochs": 1}
    model, _ = train(vera, tmp_path, POINTS, settings, **fit)
    # 63 training rows are one batch of 32 an epoch.
    assert model.plain_steps == 1
    assert keras_files.load_model(tmp_path / "model.keras").plain_steps == 1
    fit = {"epochs": 2, "plain_epochs": 2}
    with pytest.raises(ValueError, match="`plain_epochs` must be shorter.* 2 steps"):
        train(vera, tmp_path, POINTS, settings, **fit)
    with pytest.raises(ValueError, match="`plain_epochs` needs classes"):
        train(vera, tmp_path, "toy:rings", settings, **fit)
