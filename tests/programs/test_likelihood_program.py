import json

import numpy as np
import pytest

from keras_ebm.trainers import likelihood
from keras_ebm.trainers.presets import VERA_2D, with_preset
from keras_ebm.trainers.run.density_rows import split_rows
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.density import METHODS, DensitySettings, log_likelihood

SMALL = {"hidden": ("16", "16"), "generator_hidden": ("16",), "latent_dim": 4}


def small_run(dataset, **settings):
    return load(DataSettings(dataset=dataset, **settings))


def steps(workdir, **settings):
    values = {"steps": 4, "validate_every": 2, "verbose": 0, "picture": False}
    return likelihood.StepSettings(workdir=str(workdir), **{**values, **settings})


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"grid"}))
def test_every_method_trains_a_density_of_images(method, tmp_path):
    settings = DensitySettings(method=method, buffer_size=200, **SMALL)
    model, metrics = likelihood.train(small_run("digits"), settings, steps(tmp_path))
    assert np.isfinite(metrics["test_log_likelihood"])
    assert metrics["best_step"] in (2, 4) and metrics["num_test"] == 361
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics


def test_the_split_is_of_nine_tenths_for_training_and_one_for_validation():
    run = small_run("digits")
    rows = split_rows(run)
    assert len(rows.train) == len(run.splits.train) + len(run.splits.validation)
    assert len(rows.validation) == len(run.splits.calibration)
    assert rows.train.dtype == np.uint8 and rows.test.dtype == np.float32


def test_maximum_likelihood_betters_the_normal_that_nice_starts_as(tmp_path):
    run = small_run("digits")
    settings = DensitySettings(learning_rate=1e-3, hidden=("64", "64"))
    rows = split_rows(run)
    start = likelihood.prepare(run, settings, steps(tmp_path)).model
    fit = steps(tmp_path, steps=300, validate_every=50)
    model, metrics = likelihood.train(run, settings, fit)
    # Nats of 64 pixels; 300 steps gained about 25 where this was written.
    assert metrics["test_log_likelihood"] > log_likelihood(start, rows.test) + 10
    assert metrics["test_log_likelihood"] == pytest.approx(
        log_likelihood(model, rows.test), abs=1e-3
    )


def test_the_likelihood_is_that_of_the_space_before_standardising():
    # Twice as wide logits: log 2 less for each of 64 pixels, the network alike.
    run = small_run("toy:8gaussians", toy_rows=500)
    settings = DensitySettings(network="mixture")
    fit = steps("unused")
    job = likelihood.prepare(run, settings, fit)
    model, rows = job.model, split_rows(run)
    before = log_likelihood(model, rows.test)
    layer = model.preprocessor.get_layer("standardise")
    scale = np.sqrt(np.asarray(layer.variance)).ravel()
    z = (rows.test - np.asarray(layer.mean)) / scale
    expected = np.mean(model.network.log_prob(z)) - np.log(scale).sum()
    assert before == pytest.approx(expected, abs=1e-4)


def test_the_ceiling_in_the_plane_is_near_the_truth(tmp_path):
    run = small_run("toy:8gaussians", toy_rows=60_000)
    settings = DensitySettings(
        method="grid", network="mlp", hidden=("64", "64"), standardise=False,
        base_stddev=4.0, learning_rate=5e-3,
    )  # fmt: skip
    fit = steps(tmp_path, steps=400, validate_every=100, batch_size=200, picture=True)
    _, metrics = likelihood.train(run, settings, fit)
    # 0.27 where this was written; the best Gaussian loses 0.85 nats.
    assert metrics["nll_gap"] < 0.45
    assert (tmp_path / "density.png").stat().st_size > 10_000


def test_the_preset_of_the_plane_is_good_after_an_eighth_of_its_steps(train, tmp_path):
    from keras_ebm.trainers import vera
    from keras_ebm.trainers.settings.vera import ModelSettings

    settings = with_preset(
        VERA_2D, DataSettings, dataset="toy:8gaussians", seed=10, toy_rows=198_000
    )
    fit = with_preset(
        VERA_2D,
        vera.FitSettings,
        workdir=str(tmp_path),
        epochs=1,
        verbose=0,
    )
    model = with_preset(VERA_2D, ModelSettings)
    _, metrics = vera.train(load(settings), model, fit)
    # 0.02 where this was written, of 0.85 that the best Gaussian loses.
    assert metrics["nll_gap"] < 0.15
    assert (tmp_path / "density.png").stat().st_size > 10_000


def test_a_flag_overrides_its_preset(run, tmp_path):
    flags = ["--preset=vera_2d", "--dataset=toy:rings", "--toy_rows=2000"]
    flags += ["--epochs=1", "--verbose=0", f"--workdir={tmp_path}", "--base_stddev=1"]
    code, out, err = run("trainers.vera", *flags)
    assert (code, err) == (0, ""), err
    assert "nll_gap" in out
    written = (tmp_path / "flags.txt").read_text().splitlines()
    assert {"--base_stddev=1.0", "--epochs=1", "--entropy=log_volume"} <= set(written)


@pytest.mark.parametrize(
    "flags, match",
    [
        (["--network=mlp"], "needs a normalised network"),
        (["--method=grid"], "needs a network over points of the plane"),
        (["--validate_every=9", "--steps=3"], "`validate_every` must be between"),
        (["--preset=none_such"], "--preset"),
        (["--hidden=a"], "Layer widths must be integers"),
        (["--method=vera", "--entropy=importance", "--correction=weights"], "log q"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(run, tmp_path, flags, match):
    workdir = tmp_path / "run"
    code, _, err = run(
        "trainers.likelihood", "--dataset=digits", f"--workdir={workdir}", *flags
    )
    assert code == 2 and match in err and err.count("\n") == 1
    assert not workdir.exists()


def test_a_table_is_refused(tmp_path, write_table, new_table_rows):
    spec = write_table(tmp_path / "rows.csv", new_table_rows(60))
    run = small_run(spec, target="bought")
    with pytest.raises(ValueError, match="must be of images or of points"):
        likelihood.prepare(run, DensitySettings(), steps(tmp_path))


def test_an_energy_without_a_finite_mass_leaves_out_the_gap(capsys):
    from support import make_network

    from keras_ebm import EnergyModel
    from keras_ebm.networks import mlp_energy
    from keras_ebm.trainers.report.measures import density_measures

    run = small_run("toy:rings", toy_rows=300)
    flat = EnergyModel(mlp_energy((2,), hidden=(2,)))
    assert density_measures(flat, run) == {}
    assert "nll_gap cannot be measured" in capsys.readouterr().err
    assert density_measures(EnergyModel(make_network(3)), small_run("digits")) == {}


def test_a_density_whose_calibration_rows_are_spent_is_not_exported(run, tmp_path):
    settings = DensitySettings(method="vera", **SMALL)
    likelihood.train(small_run("digits"), settings, steps(tmp_path / "run"))
    flags = ["--calibration=digits", f"--output={tmp_path / 'served'}"]
    model = f"--model={tmp_path / 'run' / 'model.keras'}"
    code, _, err = run("export.ood_scorer", model, *flags)
    assert code == 2 and "must come from keras-ebm train-vera" in err
    assert not (tmp_path / "served").exists()


@pytest.mark.parametrize("method", ["maximum_likelihood", "persistent_chains"])
def test_densities_train_on_several_replicas(method, strategy, tmp_path):
    settings = DensitySettings(method=method, buffer_size=200, **SMALL)
    run = small_run("digits")
    model, metrics = likelihood.train(run, settings, steps(tmp_path), strategy)
    assert model.distribute_strategy.num_replicas_in_sync == 2
    assert np.isfinite(metrics["test_log_likelihood"])
    with pytest.raises(ValueError, match="must be a multiple of the number of repl"):
        likelihood.prepare(run, settings, steps(tmp_path, batch_size=99), strategy)


def test_the_papers_nice_takes_a_dry_step_by_either_program(run):
    flags = ("--preset=vera_nice", "--hidden=32,32", "--dry_run")
    outputs = []
    for program in ("trainers.likelihood", "trainers.vera"):
        code, out, err = run(program, *flags)
        assert code == 0 and err == "", err
        outputs.append(dict(line.split() for line in out.splitlines()))
    assert outputs[0]["parameters"] == outputs[1]["parameters"]
    flops = {
        name: int(value.replace(",", ""))
        for name, value in outputs[0].items()
        if name.startswith("flops")
    }
    # One transition of ten gradients, each twice a pass.
    assert flops["flops_chain"] >= 18 * flops["flops_energy"]
    assert flops["flops_step"] > flops["flops_chain"]
