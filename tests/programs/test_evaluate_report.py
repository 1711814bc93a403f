"""Samples and the HTML report of `trainers.evaluate`."""

import base64
import html.parser
import io
import json
import types

import keras
import numpy as np
import pytest
from PIL import Image

from keras_ebm import EnergyModel, LangevinModel, metrics, plots
from keras_ebm.negatives import LangevinMoves, MarkovChains, ReplayBuffer
from keras_ebm.trainers import evaluate as evaluation
from keras_ebm.trainers.program import keras_files
from keras_ebm.trainers.report import html as report
from keras_ebm.trainers.report.samples import prepare_samples, sample_images
from keras_ebm.trainers.run.record import recall
from keras_ebm.trainers.settings.data import DataSettings, load

SETS = ("noise:uniform", "rotate:90")


class Page(html.parser.HTMLParser):
    """What a report shows: rows of tables by section, pictures, and its text."""

    def __init__(self, text):
        super().__init__()
        self.sections, self.images, self.addresses, self.text = {}, {}, [], ""
        self.tags = []
        self.section = self.row = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.addresses += [attributes[k] for k in ("src", "href") if k in attributes]
        if tag == "img":
            self.images[attributes["alt"]] = attributes["src"]
        if tag == "h2":
            self.section = ""
        if tag == "tr":
            self.row = ["", []]
        if tag == "data":
            self.row[1].append(float(attributes["value"]))

    def handle_endtag(self, tag):
        while self.tags.pop() not in (tag, "html"):
            pass
        if tag == "h2":
            self.sections[self.section] = {}
        if tag == "tr":
            list(self.sections.values())[-1][self.row[0]] = self.row[1]

    def handle_data(self, data):
        self.text += data
        if self.tags[-1:] == ["h2"]:
            self.section += data
        if self.tags[-1:] == ["th"] and not self.row[0]:
            self.row[0] = data


@pytest.fixture(scope="module")
def extractor(tmp_path_factory):
    """A classifier of raw digits after three epochs."""
    keras.utils.set_random_seed(0)
    digits = load(DataSettings(dataset="digits"))
    x, y = digits.rows("train")
    model = classifier()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(x.astype(np.float32), y, batch_size=64, epochs=3, verbose=0)
    path = tmp_path_factory.mktemp("extractor") / "digits.keras"
    model.save(path)
    return str(path)


def classifier(size=8, classes=10, activation=None):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((size, size, 1)),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(16, activation="silu"),
            layers.Dense(classes, activation=activation, name="logits"),
        ]
    )


@pytest.fixture(scope="module")
def program(run, digits_model, extractor, tmp_path_factory):
    """`(folder, code, out, err)` of a run that is asked for everything."""
    folder = tmp_path_factory.mktemp("report")
    files = {
        "output": folder / "evaluation.json",
        "report": folder / "new" / "report.html",
        "pictures": folder / "pictures",
        "reference": folder / "reference.npz",
    }
    flags = [f"--{name}={path}" for name, path in files.items()]
    flags += [f"--ood={spec}" for spec in SETS]
    flags += [f"--model={digits_model}", "--dataset=digits", "--resamples=20"]
    flags += ["--samples=200", f"--feature_extractor={extractor}"]
    return folder, *run("trainers.evaluate", *flags)


@pytest.fixture(scope="module")
def results(program):
    return json.loads((program[0] / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def page(program):
    return Page((program[0] / "new" / "report.html").read_text("utf-8"))


def evaluate(model, foreign=(), **settings):
    settings = {"dataset": "digits", "resamples": 2, "scores": "energy", **settings}
    return evaluation.examine(
        evaluation.EvaluateSettings(model=str(model), **settings),
        foreign,
    )


def test_the_program_writes_all_it_is_asked_for(program, results):
    folder, code, out, err = program
    assert (code, err) == (0, "")
    samples = results["samples"]
    assert f"{samples['frechet_distance']:.6g}" in out
    assert (samples["num_samples"], samples["num_reference"]) == (200, 361)
    assert (samples["source"], samples["sigma_noise"]) == ("generator", True)
    assert samples["reference_split"] == "test" and not samples["few_samples"]
    assert samples["feature_extractor"].endswith("digits.keras")
    names = {path.name for path in (folder / "pictures").iterdir()}
    assert names == {"reliability.png", "energies.png", "samples.png"}


def test_every_picture_is_a_png_within_the_file(program, page):
    assert all(
        address.startswith("data:image/png;base64,") for address in page.addresses
    )
    assert set(page.images) == {
        report.CAPTIONS[name] for name in ("reliability", "energies", "samples")
    }
    for name, caption in report.CAPTIONS.items():
        if caption in page.images:
            content = base64.b64decode(
                page.images[caption].split(",")[1], validate=True
            )
            assert content == (program[0] / "pictures" / f"{name}.png").read_bytes()
            with Image.open(io.BytesIO(content)) as image:
                assert image.format == "PNG"
                assert np.ptp(np.asarray(image.convert("L"))) > 100


def test_the_tables_hold_the_numbers_of_the_json(page, results):
    measures = {**results, **results["samples"]}
    shown = {**page.sections["Known data"], **page.sections["Samples"]}
    for name, value in measures.items():
        if isinstance(value, float | int) and not isinstance(value, bool):
            assert shown[report.TITLES[name]] == [value]
    overview = page.sections["Foreign sets: AUROC in %"]
    for name in results["ood"][SETS[0]]:
        assert overview[name] == [results["ood"][spec][name]["auroc"] for spec in SETS]
    for spec in SETS:
        details = page.sections[f"Scores against {spec}"]
        for name, value in results["ood"][spec].items():
            keys = [m + end for m in ("auroc", "aupr", "fpr95") for end in ENDS]
            assert details[name] == [value[key] for key in [*keys, "num_foreign"]]
    assert page.text.count("worse than chance") == sum(
        value["worse_than_chance"]
        for scores in results["ood"].values()
        for value in scores.values()
    )


ENDS = ("", "_low", "_high")


def test_names_are_text_and_never_markup():
    value = {f"{m}{end}": 0.5 for m in ("auroc", "aupr", "fpr95") for end in ENDS}
    value |= {"kind": "a&b", "worse_than_chance": False, "num_foreign": 3}
    name = '"><script>alert(1)</script>&lt;'
    results = {"num_known": 1, "ood": {name: {name: value}}, "samples": {name: name}}
    text = report.page(name, results, {})
    # One script, that of every page, and no other.
    assert text.count("<script") == 1 and "alert(1)</script>" not in text
    page = Page(text)
    assert page.sections[f"Scores against {name}"][name][:2] == [0.5, 0.5]
    # Title, heading, table of samples twice, heads, and rows of both tables.
    assert page.text.count(name) == 8 and "a&b" in page.text


def test_the_measures_are_those_of_the_models_own_samples(digits_model, extractor):
    found = evaluate(digits_model, samples=150, feature_extractor=extractor, seed=3)
    found, evidence = found[0]["samples"], found[1]
    model = keras_files.load_model(digits_model)
    x = metrics.to_pixels(model.sample(150, seed=3))
    np.testing.assert_array_equal(evidence.samples, x[:64])
    network = keras.saving.load_model(extractor)
    features = keras.Model(network.inputs, network.layers[-1].input)
    real = recall(digits_model).rows("test")[0]
    a, b = (features.predict(rows.astype("float32"), verbose=0) for rows in (x, real))
    p = keras.ops.softmax(network.predict(x.astype("float32"), verbose=0))
    gaussians = [(f.mean(axis=0), np.cov(f, rowvar=False)) for f in (a, b)]
    expected = metrics.frechet_distance(*gaussians[0], *gaussians[1])
    assert found["frechet_distance"] == pytest.approx(expected, rel=1e-3)
    expected = metrics.kernel_distance(a, b)
    assert found["kernel_distance"] == pytest.approx(expected.value, rel=1e-3)
    error = pytest.approx(expected.standard_error, rel=1e-3)
    assert found["kernel_distance_error"] == error
    assert found["inception_splits"] == 1
    score = metrics.inception_score(p, 1).mean
    assert found["inception_score"] == pytest.approx(score, rel=1e-4)


def test_the_noise_of_the_generator_can_be_left_out(digits_model, extractor):
    settings = {"samples": 600, "feature_extractor": extractor}
    bare, evidence = evaluate(digits_model, sample_noise=False, **settings)
    assert bare["samples"]["sigma_noise"] is False
    model = keras_files.load_model(digits_model)
    x = metrics.to_pixels(model.sample(500, noise=False))
    np.testing.assert_array_equal(evidence.samples, x[:64])
    noisy = evaluate(digits_model, **settings)[0]["samples"]["frechet_distance"]
    assert bare["samples"]["frechet_distance"] != noisy
    assert bare["samples"]["inception_splits"] == 6


def test_statistics_of_the_reference_are_read_again(
    program, results, digits_model, extractor, monkeypatch
):
    def fail(*arguments, **settings):
        raise AssertionError("computed anew")

    monkeypatch.setattr(metrics, "reference_statistics", fail)
    path = str(program[0] / "reference.npz")
    settings = {"samples": 200, "feature_extractor": extractor, "reference": path}
    assert evaluate(digits_model, **settings)[0]["samples"] == results["samples"]
    with pytest.raises(ValueError, match="digits train split.*give another file"):
        evaluate(digits_model, reference_split="train", **settings)
    settings["feature_extractor"] = digits_model
    with pytest.raises(ValueError, match="reference.npz must hold.*extractor in use"):
        evaluate(digits_model, **settings)


def test_an_energy_model_is_an_extractor_and_few_images_are_marked(digits_model):
    # It has 256 features, and there are 361 images of the reference.
    settings = {"feature_extractor": digits_model, "reference_split": "train"}
    found = evaluate(digits_model, samples=20, **settings)[0]["samples"]
    assert found["few_samples"] and found["frechet_distance"] > 0.0
    assert found["reference_split"] == "train" and found["num_reference"] == 1132


@pytest.mark.parametrize(
    "network, message",
    [
        (None, "which does not exist"),
        (lambda: classifier(activation="softmax"), "ends in a softmax"),
        (lambda: classifier(size=9), r"images of shape \(8, 8, 1\)"),
        (lambda: classifier(classes=1), "logits of classes.*1 logits"),
    ],
)
def test_an_extractor_that_does_not_fit_is_refused(
    digits_model, tmp_path, network, message
):
    path = tmp_path / "network.keras"
    if network is not None:
        network().save(path)
    with pytest.raises(ValueError, match=message) as caught:
        evaluate(digits_model, samples=10, feature_extractor=str(path))
    assert "`feature_extractor`" in str(caught.value)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"samples": 2}, "samples=2"),
        ({"samples": -1}, "samples=-1"),
        ({"feature_extractor": "x.keras"}, "feature_extractor=x.keras with samples=0"),
        ({"reference": "x.npz"}, "reference=x.npz with samples=0"),
    ],
)
def test_settings_of_samples_that_cannot_be_are_refused(
    digits_model, settings, message
):
    with pytest.raises(ValueError, match=message):
        evaluate(digits_model, **settings)


def test_without_an_extractor_it_says_what_is_missing(digits_model, monkeypatch):
    def fail(weights):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.applications, "InceptionV3", fail)
    with pytest.raises(OSError, match="'imagenet' of InceptionV3.*feature_extractor"):
        evaluate(digits_model, samples=10)


def test_a_density_of_the_plane_is_drawn_as_such():
    inputs = keras.Input((2,))
    model = EnergyModel(keras.Model(inputs, keras.layers.Dense(1)(inputs)))
    x = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    energies = {"known": np.arange(50.0), "a $ and $": np.arange(9.0)}
    evidence = report.Evidence(model, x, -np.ones(50, int), x[:, :1], energies, None)
    results = {"num_known": 50, "ood": {"a $ and $": {}}}
    pictures = report.draw(results, evidence)
    assert set(pictures) == {"energies", "density"}
    shown = Page(report.page("moons", {"num_known": 50, "ood": {}}, pictures))
    assert shown.sections == {"Known data": {"Known rows": [50.0]}}
    assert len(shown.images) == 2


def test_samples_are_those_of_models_of_images(digits_model):
    model = keras_files.load_model(digits_model)
    run = types.SimpleNamespace(dataset=types.SimpleNamespace(kind="vector"))
    settings = evaluation.EvaluateSettings(samples=10)
    with pytest.raises(ValueError, match="a VERA of vector rows"):
        prepare_samples(model, run, settings)


def image_network():
    inputs = keras.Input((4, 4, 1))
    outputs = keras.layers.Dense(1)(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("buffer", [None, ReplayBuffer((4, 4, 1), 50)])
def test_chains_are_sampled_where_they_need_no_data(buffer):
    moves = LangevinMoves(2, 0.01)
    model = LangevinModel(image_network(), MarkovChains(moves, buffer))
    assert model.can_sample
    settings = evaluation.EvaluateSettings()
    images = sample_images(model, 5, settings)
    assert images.shape == (5, 4, 4, 1) and images.dtype == np.uint8
    assert len(np.unique(images)) > 10
    assert not EnergyModel(image_network()).can_sample
    at_data = MarkovChains(moves, start="data")
    assert not LangevinModel(image_network(), at_data).can_sample


def test_marks_of_a_reliability_diagram_are_its_bins():
    table = metrics.reliability(
        np.array([[0.7, 0.3], [0.72, 0.28], [0.4, 0.6]]), np.array([0, 1, 1]), 10
    )
    figure, axis = plots.pyplot().subplots()
    plots.draw_reliability(axis, table, "title")
    marks = axis.collections[-1].get_offsets()
    np.testing.assert_allclose(marks, [[0.6, 1.0], [0.7, 1.0], [0.72, 0.0]])
    np.testing.assert_allclose(sum(bar.get_height() for bar in axis.patches), 1.0)
    assert plots.to_array(figure).ndim == 3


@pytest.mark.parametrize("foreign", [np.zeros(5), np.array([-1e6, 0.0, 1e6])])
def test_energies_of_any_spread_are_drawn(foreign):
    figure, axis = plots.pyplot().subplots()
    plots.draw_energy_pair(axis, np.zeros(9), foreign, "energies")
    for patch in axis.patches:
        assert np.all(np.isfinite(patch.get_xy()))
    plots.to_array(figure)
