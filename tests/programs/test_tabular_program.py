import json

import numpy as np
import pytest

from keras_ebm.trainers import langevin, presets, vera
from keras_ebm.trainers.program import json_files, keras_files
from keras_ebm.trainers.run import transforms
from keras_ebm.trainers.run.record import load_like, recall, write_record
from keras_ebm.trainers.settings.chains import ChainSettings
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.unlabelled import CHAIN_METHODS, VERA_METHODS
from keras_ebm.trainers.settings.vera import ModelSettings

SMALL = {
    "hidden": ("16",),
    "learning_rate": 0.01,
    "ramp_steps": 2,
}
#: Eight steps in two parts.
SHORT = {
    "steps": 8,
    "validate_every": 4,
    "batch_size": 16,
    "keep_best": True,
    "tensorboard": False,
    "verbose": 0,
}


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    """600 rows of two classes: numbers, gaps, booleans, words and a constant."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 600)
    lines = ["size,weight,member,colour,unit,class"]
    for label in y:
        size = np.exp(rng.normal(label, 0.5))
        weight = "" if rng.random() < 0.2 else f"{rng.normal(3 * label, 1.0):.4f}"
        member = rng.choice(["yes", "No"], p=[0.8, 0.2] if label else [0.2, 0.8])
        colour = rng.choice(["red", "blue", "green"])
        lines.append(f"{size:.5f},{weight},{member},{colour},7,{'ab'[label]}")
    path = tmp_path_factory.mktemp("table") / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def rows(csv):
    settings = DataSettings(dataset=f"csv:{csv}", labels_per_class=10)
    return load(settings)


def flags(values):
    """A recipe as flags of a program."""
    texts = {k: ",".join(v) if isinstance(v, tuple) else v for k, v in values.items()}
    return [f"--{key}={value}" for key, value in texts.items()]


def test_a_csv_without_classes_is_a_density(run, csv, tmp_path):
    code, _, err = run(
        "trainers.vera",
        f"--dataset=csv:{csv}",
        "--target=",
        "--ignore_columns=class,colour",
        f"--workdir={tmp_path}",
        *flags({**SMALL, **SHORT, "keep_best": False}),
        "--generator_hidden=16",
    )
    assert code == 0, err
    recalled = recall(tmp_path / "model.keras").dataset
    names = [column.name for column in recalled.schema.columns]
    assert names == ["size", "weight", "member", "unit"]
    assert recalled.class_names == () and recalled.schema.target is None
    assert "accuracy" not in json_files.read_json(tmp_path / "metrics.json")
    # The run folder's flags train the same again.
    again = tmp_path / "again"
    code, _, err = run(
        "trainers.vera", f"--flagfile={tmp_path}/flags.txt", f"--workdir={again}"
    )
    assert code == 0, err
    first, second = (
        keras_files.load_model(f / "model.keras") for f in (tmp_path, again)
    )
    x = recalled.x[:50]
    np.testing.assert_array_equal(first.energy(x), second.energy(x))


def test_a_csv_and_ten_labels_are_all_it_takes(run, csv, tmp_path):
    code, out, err = run(
        "trainers.vera",
        f"--dataset=csv:{csv}",
        "--labels_per_class=10",
        f"--workdir={tmp_path}",
        *flags({**SMALL, "steps": 200, "validate_every": 50, "verbose": 0}),
        "--generator_hidden=16",
    )
    assert code == 0, err
    assert "preset=tabular" in err
    assert err.count("dropped, as nearly all rows hold one value: unit") == 1
    selection = json_files.read_json(tmp_path / "selection.json")
    accuracies = selection["validation_accuracy"]
    assert accuracies.keys() == {"standardise", "quantile"}
    assert accuracies[selection["transform"]] == max(accuracies.values())
    model = keras_files.load_model(tmp_path / "model.keras")
    assert model.preprocessor.transform == selection["transform"]
    metrics = json_files.read_json(tmp_path / "metrics.json")
    assert f"accuracy   {metrics['accuracy']:.4f}" in out
    # Three informative columns leave about one row in twenty in doubt.
    assert metrics["accuracy"] > 0.8
    recalled = recall(tmp_path / "model.keras")
    kinds = [column.kind for column in recalled.dataset.schema.columns]
    assert kinds == ["numeric", "numeric", "boolean", "categorical", "numeric"]


@pytest.mark.parametrize("method", [*VERA_METHODS, *CHAIN_METHODS])
def test_every_method_trains_on_few_labels(rows, method, tmp_path):
    chains = method in CHAIN_METHODS
    module, kind, preset = (
        (langevin, ChainSettings, presets.TABULAR_CHAINS)
        if chains
        else (vera, ModelSettings, presets.TABULAR)
    )
    chosen = (CHAIN_METHODS if chains else VERA_METHODS)[method]
    values = {**preset, **chosen, **SMALL, "transform": "quantile"}
    values |= {"num_steps": 2, "buffer_size": 64, "generator_hidden": ("8",)}
    settings = presets.with_preset(values, kind)
    fit = module.FitSettings(workdir=str(tmp_path), **SHORT)
    model, metrics = module.train(rows, settings, fit)
    assert np.isfinite(metrics["nll"])
    history = (tmp_path / "history.csv").read_text().splitlines()
    assert len(history) == 3
    terms = {
        "vat": "virtual_adversarial",
        "pseudo_label": "pseudo_labelled",
        "vera": "generator_loss",
        "gradient_penalty": "gradient_penalty",
    }
    for part, log in terms.items():
        if part in method.split("+"):
            assert log in history[0].split(",")
    assert model.conditional_entropy_weight == (
        values["conditional_entropy_weight"] if "entropy" in method else 0
    )


def test_an_interrupted_choice_goes_on_with_what_is_left(rows, tmp_path):
    # What is trained is no matter of the choice, and this is soon done.
    settings = presets.with_preset(
        {**presets.TABULAR, **SMALL, "negatives": "none", "gradient_penalty": 0.0},
        ModelSettings,
    )
    whole = vera.FitSettings(workdir=str(tmp_path / "whole"), **SHORT)
    vera.train(rows, settings, whole)
    # As a kill leaves it: one transform done, the other not begun.
    broken = vera.FitSettings(workdir=str(tmp_path / "broken"), **SHORT)
    first = vera.prepare(rows, settings, broken)
    first.jobs["standardise"].perform()
    again = vera.FitSettings(workdir=broken.workdir, auto_resume=True, **SHORT)
    vera.train(rows, settings, again)
    results = [
        json.loads((tmp_path / name / "selection.json").read_text())
        for name in ("whole", "broken")
    ]
    assert results[0] == results[1]


def test_the_best_weights_by_validation_are_kept(rows, tmp_path):
    settings = presets.with_preset(
        {
            **presets.TABULAR,
            **SMALL,
            "transform": "quantile",
            "learning_rate": 0.3,
            "generator_hidden": ("8",),
        },
        ModelSettings,
    )
    fit = vera.FitSettings(
        workdir=str(tmp_path), **{**SHORT, "steps": 24, "keep_best": True}
    )
    model, _ = vera.train(rows, settings, fit)
    header, *lines = (tmp_path / "history.csv").read_text().splitlines()
    column = header.split(",").index("val_accuracy")
    values = [float(line.split(",")[column]) for line in lines]
    assert len(set(values)) > 1  # Else nothing was chosen.
    found = transforms.validation_accuracy(model, rows)
    np.testing.assert_allclose(found, max(values), atol=1e-6)
    assert not (tmp_path / "best").exists()


def test_too_few_labelled_rows_choose_nothing(csv, tmp_path, capsys):
    lines = csv.read_text().splitlines()
    # Labels on a tenth of the rows: some four among those that validate.
    text = [
        line if index % 10 == 0 else line.rpartition(",")[0] + ","
        for index, line in enumerate(lines[1:])
    ]
    path = tmp_path / "few.csv"
    path.write_text("\n".join([lines[0], *text]) + "\n")
    rows = load(DataSettings(dataset=f"csv:{path}"))
    settings = presets.with_preset(
        {**presets.TABULAR, **SMALL, "generator_hidden": ("8",)}, ModelSettings
    )
    fit = vera.FitSettings(workdir=str(tmp_path / "run"), **SHORT)
    job = vera.prepare(rows, settings, fit)
    assert job.model.preprocessor.transform == "quantile"
    err = capsys.readouterr().err
    assert "transform: fewer than 20 validation rows" in err
    assert "keep_best: fewer than 20 validation rows" in err


def test_a_density_has_no_best_by_accuracy(tmp_path):
    rows = load(DataSettings(dataset="toy:rings", toy_rows=200))
    fit = vera.FitSettings(workdir=str(tmp_path), keep_best=True, picture=False)
    with pytest.raises(ValueError, match="`keep_best` needs classes"):
        vera.prepare(rows, ModelSettings(), fit)


def test_the_words_for_missing_values_are_recorded(tmp_path):
    path = tmp_path / "regions.csv"
    lines = [
        f"{'NA' if row % 3 else '-'},{row % 7},{'ab'[row % 2]}" for row in range(60)
    ]
    path.write_text("\n".join(["region,x,y", *lines]) + "\n")
    settings = DataSettings(dataset=f"csv:{path}", missing_words="-,?")
    with pytest.warns(UserWarning, match="missing: 20 in 'region' .'-'."):
        run = load(settings)
    assert run.dataset.schema.columns[0].vocabulary == ("NA",)
    write_record(run, tmp_path)
    model = tmp_path / "model.keras"
    with pytest.warns(UserWarning, match="missing: 20 in 'region'"):
        recalled = recall(model)
        other = load_like(model, f"csv:{path}", "")
    np.testing.assert_array_equal(recalled.dataset.x, run.dataset.x)
    np.testing.assert_array_equal(other.x, run.dataset.x)
    none = DataSettings(dataset=f"csv:{path}", missing_words="")
    vocabulary = load(none).dataset.schema.columns[0].vocabulary
    assert vocabulary == ("-", "NA")
