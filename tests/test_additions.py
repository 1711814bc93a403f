"""What a newcomer adds is registered in one table, and then works by its name."""

import dataclasses
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm import data
from keras_ebm.entropy import ESTIMATORS, EntropyEstimator, Estimate
from keras_ebm.models import EnergyModel
from keras_ebm.ood import (
    ConformalDetector,
    Detector,
    Energy,
    Score,
    load_score,
    make_score,
)
from keras_ebm.ood.combined import SCORE_CLASSES
from keras_ebm.random import StepRandom
from keras_ebm.serving import export_ood_scorer, verify
from keras_ebm.serving.outputs import OUTPUTS, Output
from keras_ebm.trainers import vera
from keras_ebm.trainers.presets import VERA_PRESETS, with_preset
from keras_ebm.trainers.program.options import choices_of
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.negatives import NEGATIVES, ROWS, Source
from keras_ebm.trainers.settings.vera import (
    ModelSettings,
    build_model,
    resolved_negatives,
)

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def points():
    return data.load("toy:rings", num_rows=64)


def two_steps(model, x):
    """Trains two steps and returns the losses."""
    model.compile(*[keras.optimizers.SGD(0.01) for _ in range(2)])
    rows = tf.data.Dataset.from_tensor_slices(x).batch(len(x) // 2)
    return model.fit(rows, verbose=0, shuffle=False).history["loss"]


class NoiseOnly(EntropyEstimator):
    """The entropy of the noise alone."""

    def estimate(self, generator, draw, prepared):
        return Estimate(generator.log_noise_volume)


def test_an_entropy_estimator_of_the_table_trains_by_its_flag(monkeypatch, points):
    monkeypatch.setitem(ESTIMATORS, "noise_only", NoiseOnly)
    assert "noise_only" in choices_of(ModelSettings, "entropy")
    settings = ModelSettings(
        entropy="noise_only", latent_dim=2, hidden=(8,), generator_hidden=(8,)
    )
    model = build_model(points, points.x, settings, seed=0)
    assert isinstance(model.entropy, NoiseOnly)
    assert np.isfinite(two_steps(model, points.x)).all()


def _rows_of_a_list(name, *, num_rows):
    x = np.tile(np.array(name.split(","), np.float32)[:, None], (num_rows, 2))
    return data.Dataset(x, np.full(len(x), -1), "vector", (), name=f"list:{name}")


def test_a_data_source_of_the_table_is_loaded_by_its_spec(monkeypatch):
    source = data.Source(_rows_of_a_list, ("vector",), "NUMBERS")
    monkeypatch.setitem(data.SOURCES, "list", source)
    loaded = data.load("list:1,2,3", num_rows=4)
    np.testing.assert_array_equal(loaded.x[::4, 0], [1, 2, 3])
    assert data.foreign("list:7,8", loaded).shape == (40_000, 2)
    assert load(DataSettings("list:1,2,3", toy_rows=40)).dataset.x.shape == (120, 2)
    assert "list" in data.sources_of("vector") and data.file_of("list:1") is None
    for refused in (lambda: data.load("lists:1"), lambda: load(DataSettings())):
        with pytest.raises(ValueError, match="list:NUMBERS"):
            refused()


class Doubled(Detector):
    """A detector that also gives twice the energy."""

    def decide(self, x, target_fpr=None):
        decision = super().decide(x, target_fpr)
        return {**decision, "twice": 2.0 * decision["energy"]}


def test_an_output_of_the_table_is_exported_and_verified(monkeypatch, points, tmp_path):
    monkeypatch.setitem(OUTPUTS, "twice", Output("number"))
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    conformal = ConformalDetector(np.linspace(-1, 1, 19))
    detector = Doubled(EnergyModel(network), Energy(), conformal, 0.1)
    path = export_ood_scorer(detector, tmp_path / "scorer", points.x[:5])
    served = tf.saved_model.load(path).signatures["serving_default"]
    answers = served(inputs=tf.constant(points.x[:5]))
    np.testing.assert_allclose(answers["twice"], 2 * answers["energy"], rtol=1e-6)
    assert verify(path, detector, points.x[:5])["twice"] < 1e-4
    plain = Detector(detector.model, Energy(), conformal, 0.1)
    with pytest.raises(RuntimeError, match="`twice` .* the detector does not give"):
        verify(path, plain, points.x[:5])


def _zeros(rows, seed, shape):
    return lambda x, random: tf.zeros_like(x)


@pytest.mark.parametrize(
    "negatives", [*(name for name in NEGATIVES if name != "bank"), "zeros"]
)
def test_negatives_of_the_table_train_by_their_flag(monkeypatch, points, negatives):
    monkeypatch.setitem(NEGATIVES, "zeros", Source(_zeros, objective="logistic"))
    assert negatives in choices_of(ModelSettings, "negatives")
    settings = ModelSettings(negatives=negatives, hidden=(8,))
    made = points if ROWS in NEGATIVES[negatives].serves else data.load("digits")
    model = build_model(made, made.x[:64], settings, seed=0)
    assert type(model) is EnergyModel
    assert model.objective == ("contrastive" if negatives == "batch" else "logistic")
    assert np.isfinite(two_steps(model, made.x[:64])).all()


@pytest.mark.parametrize(
    "kind, settings, expected",
    [
        ("digits", {}, "generator+mixed"),
        ("digits", {"objective": "contrastive"}, "generator"),
        ("digits", {"correction": "resample"}, "generator"),
        ("digits", {"negatives": "none"}, "none"),
        ("rows", {}, "generator+shuffle"),
        ("one column", {}, "generator"),
        ("density", {}, "generator"),
    ],
)
def test_auto_is_what_the_data_and_the_objective_allow(
    points, kind, settings, expected
):
    rows = data.Dataset(points.x, np.arange(len(points.x)) % 2, "vector", ("a", "b"))
    datasets = {
        "digits": data.load("digits"),
        "rows": rows,
        "one column": dataclasses.replace(rows, x=rows.x[:, :1]),
        "density": points,
    }
    found = resolved_negatives(ModelSettings(**settings), datasets[kind])
    assert found == expected


@pytest.mark.parametrize("negatives", ["phase_scramble", "patch_shuffle"])
def test_what_takes_images_apart_is_refused_for_rows_of_numbers(points, negatives):
    with pytest.raises(ValueError, match="takes images. Received: vector rows of toy"):
        build_model(points, points.x, ModelSettings(negatives=negatives), seed=0)


def test_a_mixture_is_fitted_to_preprocessed_rows(points):
    shifted = dataclasses.replace(points, x=100.0 + 5.0 * points.x)
    settings = ModelSettings(negatives="mixture", hidden=(8,))
    model = build_model(shifted, shifted.x, settings, seed=0)
    like = tf.zeros((4000, 2))
    rows = model.negatives(like, StepRandom(0, 0))
    # Standardised rows; of 4,000 samples the mean's standard error is 0.016.
    np.testing.assert_allclose(np.mean(rows, axis=0), 0.0, atol=0.1)
    np.testing.assert_allclose(np.std(rows, axis=0), 1.0, atol=0.1)


def test_a_mixture_is_refused_for_images():
    digits = data.load("digits")
    with pytest.raises(ValueError, match="image rows of digits; use .*batch or jitter"):
        build_model(digits, digits.x, ModelSettings(negatives="mixture"), seed=0)


def test_jitter_is_made_of_images_too():
    digits = data.load("digits")
    settings = ModelSettings(negatives="jitter", hidden=(8,))
    model = build_model(digits, digits.x[:64], settings, seed=0)
    assert np.isfinite(two_steps(model, digits.x[:64])).all()


def test_an_estimator_that_is_not_in_the_table_is_refused_with_those_that_are():
    with pytest.raises(ValueError) as error:
        ModelSettings(entropy="noise_only")
    offered = [name for name, one in ESTIMATORS.items() if not one.linear_only]
    assert ", ".join(map(repr, [*offered, "none"])) in str(error.value)


class SecondLogit(Score):
    """The second logit, for want of a better score."""

    name = "second_logit"
    requires = frozenset({"logits"})

    def _score(self, inputs):
        return inputs["logits"][:, 1]


def test_a_score_of_the_table_is_made_alone_and_in_a_sum(monkeypatch):
    monkeypatch.setitem(SCORE_CLASSES, SecondLogit.name, SecondLogit)
    logits = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    outputs = {"logits": logits}
    score = make_score("second_logit")
    np.testing.assert_array_equal(score.predict(outputs), logits[:, 1])
    both = make_score("energy+second_logit").fit(outputs, outputs)
    assert both.name == "energy+second_logit"
    assert both.predict(outputs).mean() == pytest.approx(0.0, abs=1e-5)
    saved = load_score(score.state())
    np.testing.assert_array_equal(saved.predict(outputs), logits[:, 1])


def test_a_preset_of_the_table_gives_settings_that_flags_may_override(monkeypatch):
    mine = {"hidden": (8,), "latent_dim": 2, "epochs": 3, "dataset": "toy:rings"}
    monkeypatch.setitem(VERA_PRESETS, "mine", mine)
    recipe = VERA_PRESETS["mine"]
    settings = with_preset(recipe, ModelSettings, latent_dim=3)
    assert (settings.hidden, settings.latent_dim) == ((8,), 3)
    assert with_preset(recipe, DataSettings).dataset == "toy:rings"
    assert with_preset(recipe, vera.FitSettings).epochs == 3


def test_the_guide_names_files_and_tables_that_exist():
    guide = (ROOT / "docs" / "adding.md").read_text("utf-8")
    paths = re.findall(r"`([\w/]+\.(?:py|md))`", guide)
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).is_file()] == []
    tables = re.findall(r"`([A-Z_]+)` in `([\w/]+\.py)`", guide)
    assert len(tables) >= 6
    for table, path in tables:
        assert re.search(rf"^{table} = ", (ROOT / path).read_text("utf-8"), re.M)
