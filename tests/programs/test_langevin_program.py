"""`trainers.langevin` and `trainers.sample`, as programs and by their functions."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.gradients import energy_and_gradient
from keras_ebm.trainers import evaluate, langevin, sample, vera
from keras_ebm.trainers.presets import LANGEVIN_PRESETS, VERA_PRESETS, with_preset
from keras_ebm.trainers.program.options import choices_of
from keras_ebm.trainers.run import dry_run
from keras_ebm.trainers.run.flops import count_flops
from keras_ebm.trainers.settings.chains import ChainSettings, build_langevin
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.vera import ModelSettings

SMALL = {"hidden": ("32",), "num_steps": 5, "buffer_size": 300}


def train(workdir, dataset="digits", model=None, fit=None, **settings):
    rows = load(DataSettings(dataset=dataset, **settings))
    fit = {"epochs": 2, "tensorboard": False, "verbose": 0, **(fit or {})}
    return langevin.train(
        rows,
        ChainSettings(**{**SMALL, **(model or {})}),
        langevin.FitSettings(workdir=str(workdir), **fit),
    )


@pytest.fixture(scope="module")
def digits_run(run, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("chains")
    result = run(
        "trainers.langevin",
        "--dataset=digits",
        "--num_steps=5",
        "--hidden=32",
        "--epochs=2",
        "--buffer_size=300",
        "--checkpoint_every=10",
        "--checkpoints=3",
        "--tensorboard=false",
        "--verbose=0",
        f"--workdir={workdir}",
    )
    return workdir, result


def test_the_program_trains_saves_and_measures(digits_run):
    workdir, (code, out, err) = digits_run
    assert code == 0 and err == ""
    assert json.loads((workdir / "doctor.json").read_text())["state"] == "healthy"
    lines = (workdir / "history.csv").read_text().splitlines()
    column = lines[0].split(",").index("doctor")
    assert [float(line.split(",")[column]) for line in lines[1:]] == [0.0, 0.0]
    metrics = json.loads((workdir / "metrics.json").read_text())
    assert 0.2 < metrics["accuracy"] <= 1.0 and "accuracy" in out
    model = keras.models.load_model(workdir / "model.keras")
    assert model.negatives.buffer.whole()["visited"].all()
    names = sorted(path.name for path in (workdir / "checkpoints").glob("*"))
    assert names == [f"step-{n:08d}.keras" for n in (10, 20, 30)]


@pytest.mark.parametrize("origin", ["noise", "buffer", "images"])
def test_samples_are_drawn_from_every_start(digits_run, origin, tmp_path):
    workdir, _ = digits_run
    if origin == "images":
        for i in range(3):
            image = np.full((20, 20, 1), 80 * i, np.uint8)
            keras.utils.save_img(tmp_path / f"{i}.png", image, scale=False)
        origin = f"images:{tmp_path}"
    settings = sample.SampleSettings(
        model=str(workdir / "model.keras"), num=7, from_=origin, steps=0
    )
    x, energies, model = sample.sample(settings)
    assert x.shape == (7, 8, 8, 1)
    np.testing.assert_allclose(energies, model.to_energy(model.network(x)), rtol=1e-5)
    if origin.startswith("images"):
        expected = [80 * (i % 3) / 127.5 - 1 for i in range(7)]
        np.testing.assert_allclose(x.mean(axis=(1, 2, 3)), expected, atol=0.01)
    elif origin == "buffer":
        states = model.negatives.buffer.whole()["states"]
        assert all(np.abs(states - one).max(axis=(1, 2, 3)).min() == 0 for one in x)


def test_the_sampling_program_cycles_through_checkpoints(digits_run, run, tmp_path):
    workdir, _ = digits_run
    output, samples = tmp_path / "grid.png", tmp_path / "samples.npz"
    code, out, err = run(
        "trainers.sample",
        f"--model={workdir / 'checkpoints'}",
        "--from=noise",
        "--num=9",
        "--steps=4",
        "--rounds=5",
        f"--output={output}",
        f"--samples={samples}",
    )
    assert code == 0 and err == ""
    assert tf.io.decode_png(output.read_bytes()).shape[0] > 100
    x = np.load(samples)["x"]
    paths = sample.model_paths(str(workdir / "checkpoints"))
    models = [keras.models.load_model(path, compile=False) for path in paths]
    random = sample.StepRandom(0, 0)
    expected = models[0].negatives.begin(tf.zeros(x.shape), random)
    for i in range(5):
        model = models[i % 3]
        expected, _ = model.negatives.moves.move(
            model.chain_energy(), expected, random.fold(i), num_steps=4
        )
    np.testing.assert_allclose(x, expected, atol=1e-4)


def test_a_generator_samples_and_chains_refine_it(digits_model):
    settings = {"model": digits_model, "num": 50}
    first, before, _ = sample.sample(sample.SampleSettings(**settings))
    walked = sample.SampleSettings(
        **settings, steps=20, step_size=0.01, noise_stddev=0.0
    )
    second, after, _ = sample.sample(walked)
    assert np.all(after <= before + 1e-4) and np.mean(after) < np.mean(before)
    assert first.shape == second.shape == (50, 8, 8, 1)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"from_": "generator"}, "needs a model with one"),
        ({"from_": "space"}, "must be noise, generator, buffer or images"),
        ({"from_": "images:nowhere"}, "there must be a folder with image files"),
        ({"label": 3}, "needs a class-conditional model"),
        ({"num": 0}, "`num` must be an integer"),
    ],
)
def test_bad_sampling_settings_are_refused(digits_run, arguments, match):
    settings = {"model": str(digits_run[0] / "model.keras"), **arguments}
    with pytest.raises(ValueError, match=match):
        sample.sample(sample.SampleSettings(**settings))


def test_sampling_without_chains_needs_a_step_size(digits_model):
    settings = sample.SampleSettings(model=digits_model, steps=5)
    with pytest.raises(ValueError, match="`steps` needs `step_size`"):
        sample.sample(settings)


def test_a_class_conditional_model_samples_the_class_it_is_asked_for(tmp_path):
    train(
        tmp_path,
        "digits",
        {"classes": "conditional", "network": "igebm_mnist", "filters": 2},
        {"epochs": 1},
    )
    settings = sample.SampleSettings(
        model=str(tmp_path / "model.keras"), num=3, label=4, steps=2
    )
    x, energies, model = sample.sample(settings)
    expected = model.class_energy(x, tf.fill([3], 4))
    np.testing.assert_allclose(energies, expected, rtol=1e-4)
    settings = evaluate.EvaluateSettings(
        model=str(tmp_path / "model.keras"), dataset="digits", resamples=2
    )
    results = evaluate.evaluate(settings, ["noise:uniform"])
    # Scores of features need a network whose layers can be read off.
    scores = results["ood"]["noise:uniform"]
    assert {"energy", "max_softmax"} <= scores.keys() and "knn" not in scores


def test_pcd_reaches_its_gap_in_a_shorter_run(tmp_path):
    preset = LANGEVIN_PRESETS["pcd"]
    settings = with_preset(
        preset, DataSettings, dataset="toy:8gaussians", toy_rows=100_000
    )
    fit = with_preset(
        preset,
        langevin.FitSettings,
        workdir=str(tmp_path),
        epochs=3,
        verbose=0,
    )
    chains = with_preset(preset, ChainSettings)
    _, metrics = langevin.train(load(settings), chains, fit)
    # 945 of 4,988 steps; the full preset ends below 0.01.
    assert 0.0 < metrics["nll_gap"] < 0.1
    assert (tmp_path / "density.png").is_file()


def test_chains_that_run_off_are_stopped_with_the_name_of_what_did(run, tmp_path):
    code, _, err = run(
        "trainers.langevin",
        "--dataset=digits",
        "--num_steps=2",
        "--hidden=16",
        "--buffer_size=100",
        "--keep_in_range=false",
        "--step_size=1e4",
        "--learning_rate=0.5",
        "--schedule=constant",
        "--tensorboard=false",
        "--verbose=0",
        f"--workdir={tmp_path}",
    )
    assert code == 1
    assert "training stopped: `" in err and "energy` was" in err
    assert "outside its range" in err or "nan" in err or "inf" in err
    assert not (tmp_path / "model.keras").exists()


@pytest.mark.parametrize(
    "model, dataset, match",
    [
        ({"classes": "conditional"}, "toy:rings", "needs data with classes"),
        ({"dequantise": True}, "toy:rings", "`dequantise` needs images"),
        ({"network": "igebm_resnet32"}, "toy:rings", "takes images"),
        ({"network": "igebm_mnist"}, "digits", "has one output"),
        ({"buffer": "none", "neighbour_weight": 1.0}, "digits", "needs a buffer"),
        ({"moves": "mala", "kl_weight": 1.0}, "digits", "use LangevinMoves"),
        ({"step_size": 0.0}, "digits", "`step_size` must be"),
        ({"learning_rate": 0.0}, "digits", "`learning_rate` must be"),
        ({"buffer_size": 10}, "digits", "`buffer_size` must be at least"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, model, dataset, match):
    with pytest.raises(ValueError, match=match):
        train(tmp_path / "run", dataset, model)
    assert not (tmp_path / "run").exists()


def test_a_flag_that_does_not_fit_is_one_line_and_nothing_is_written(run, tmp_path):
    folder = tmp_path / "run"
    code, _, err = run(
        "trainers.langevin",
        "--dataset=toy:rings",
        "--augment=crop",
        f"--workdir={folder}",
    )
    assert code == 2 and "`augment` crop needs images" in err and err.count("\n") == 1
    assert not folder.exists()


def test_operations_are_those_of_the_products():
    weights = tf.Variable(tf.ones([10, 20]))

    def energy(x):
        return tf.reduce_sum(x @ weights, axis=-1)

    spec = tf.TensorSpec([3, 10])
    once = 2 * 3 * 10 * 20
    # The sums are the rest: 3 x 20, and in the gradient nothing more.
    assert once <= count_flops(energy, spec) <= once + 60
    both = count_flops(lambda x: energy_and_gradient(energy, x), spec)
    assert 2 * once <= both <= 2 * once + 60


# Those that two cores can step through in seconds; the others are built in
# tests of their networks.
QUICK = ["pcd", "short_run", "igebm_dsprites", "igebm_mnist"]


@pytest.mark.parametrize("name", QUICK)
def test_presets_of_chains_take_a_dry_step(name):
    preset = {"dataset": "digits", **LANGEVIN_PRESETS[name]}
    if name == "pcd":
        preset["dataset"] = "toy:rings"
    preset["num_steps"] = 2
    result = dry_run.dry_run(
        with_preset(preset, DataSettings, toy_rows=1000),
        with_preset(preset, ChainSettings),
        with_preset(preset, langevin.FitSettings),
        build_langevin,
    )
    assert np.isfinite(result["loss"])
    assert result["parameters"] > 1000
    assert result["flops_step"] > result["flops_chain"] > result["flops_energy"] > 0


def test_every_presets_settings_exist_and_have_choices():
    programs = (
        (VERA_PRESETS, ModelSettings, vera.FitSettings),
        (LANGEVIN_PRESETS, ChainSettings, langevin.FitSettings),
    )
    for presets, model_settings, fit in programs:
        classes = (DataSettings, model_settings, fit)
        for name, preset in presets.items():
            for key, value in preset.items():
                owners = [c for c in classes if key in c.__dataclass_fields__]
                assert owners, (name, key)
                choices = choices_of(owners[0], key)
                assert not choices or value in choices, (name, key)


def test_a_dry_run_of_the_program_needs_no_data(run):
    code, out, err = run("trainers.langevin", "--preset=igebm_mnist", "--dry_run")
    assert code == 0 and err == ""
    figures = dict(line.split() for line in out.splitlines())
    assert figures["parameters"] == "1,247,169"
    assert int(figures["flops_step"].replace(",", "")) > 1e9
