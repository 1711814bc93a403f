import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from keras_ebm import metrics, ood
from keras_ebm.export.common import ExportSettings, fit_detector
from keras_ebm.trainers import evaluate as program
from keras_ebm.trainers.program import keras_files
from keras_ebm.trainers.run.record import recall

SETS = ("noise:uniform", "noise:gaussian", "rotate:90", "holdout")


def evaluate(workdir, foreign, **settings):
    settings = {"dataset": "digits", "resamples": 50, **settings}
    model = str(workdir / "model.keras")
    return program.evaluate(program.EvaluateSettings(model=model, **settings), foreign)


@pytest.fixture(scope="module")
def results(held_out):
    return evaluate(held_out, SETS)


def test_the_program_writes_what_it_prints(run, digits_model, tmp_path):
    output = tmp_path / "new" / "evaluation.json"
    code, out, err = run(
        "trainers.evaluate",
        *[f"--model={digits_model}", "--dataset=digits", f"--output={output}"],
        *["--ood=noise:uniform", "--ood=rotate:90", "--resamples=20"],
    )
    assert (code, err) == (0, "")
    results = json.loads(output.read_text())
    assert set(results) == {"num_known", "accuracy", "nll", "ece", "brier", "ood"}
    assert list(results["ood"]) == ["noise:uniform", "rotate:90"]
    assert f"{results['accuracy']:.6g}" in out and "energy+knn" in out


def test_the_known_rows_are_the_recorded_test_split(results, held_out):
    x, y = recall(held_out / "model.keras").rows("test")
    model = keras_files.load_model(held_out / "model.keras")
    logits = ood.network_outputs(model, x, requires=())["logits"]
    assert results["num_known"] == len(x)
    assert results["accuracy"] == np.mean(logits.argmax(-1) == y)
    recorded = json.loads((held_out / "metrics.json").read_text())
    for name in ("accuracy", "nll", "ece", "brier"):
        assert results[name] == pytest.approx(recorded[name], rel=1e-6)


def test_scores_and_baselines_stand_side_by_side(results):
    for spec in SETS:
        kinds = {name: value["kind"] for name, value in results["ood"][spec].items()}
        # Of images: all scores but the one that takes covariances of pixels.
        assert set(ood.SCORES) - set(kinds) == {"mixture"}
        assert kinds["energy"] == kinds["approximate_mass"] == "energy"
        assert kinds["max_softmax"] == kinds["knn"] == "baseline"
        assert kinds["energy+knn"] == "combined"


def test_intervals_hold_their_value_and_the_flag_its_word(results):
    seen = set()
    for scores in results["ood"].values():
        for value in scores.values():
            for name in ("auroc", "aupr", "fpr95"):
                low, high = value[f"{name}_low"], value[f"{name}_high"]
                # Sums of shares that make 1 differ by rounding.
                assert low - 1e-12 <= value[name] <= high + 1e-12
                assert 0.0 <= low and high <= 1.0
            assert value["auroc_low"] < value["auroc_high"] or value["auroc"] == 1.0
            assert value["worse_than_chance"] == (value["auroc"] < 0.5)
            seen.add(value["worse_than_chance"])
    # The gradient's norm is no good score after two epochs: both cases occur.
    assert seen == {False, True}


def test_the_energy_is_measured_with_foreign_as_the_positive_class(results, held_out):
    rows = recall(held_out / "model.keras")
    model = keras_files.load_model(held_out / "model.keras")
    known, foreign = (
        model.energy(rows.rows(part)[0]).numpy() for part in ("test", "holdout")
    )
    value = results["ood"]["holdout"]["energy"]
    assert value["num_foreign"] == len(foreign) == 354
    # The definition: the chance that a foreign row has the higher energy.
    higher = (foreign[:, None] > known[None]).mean()
    assert value["auroc"] == pytest.approx(higher, abs=1e-4)
    report = metrics.detection_report(known, foreign, num_resamples=5, seed=0)
    assert value["fpr95"] == pytest.approx(report["fpr95"]["value"], abs=1e-6)


def test_other_known_data_is_read_in_the_models_form(table, write_table, tmp_path):
    workdir, spec = table
    rows = [["50", "2", "Wien", "yes"], ["30", "", "Oslo", "no"]] * 10
    names = ["age", "income (k)", "city", "bought"]
    other = write_table(tmp_path / "other.csv", rows, names)
    found = evaluate(workdir, ["noise:gaussian"], dataset=other, scores="energy,knn")
    assert found["num_known"] == 20
    assert set(found["ood"]["noise:gaussian"]) == {"energy", "knn"}
    # The same rows under another name are still the training data.
    copy = tmp_path / "copy.csv.gz"
    shutil.copy(spec.removeprefix("csv:"), copy)
    assert evaluate(workdir, [], dataset=f"csv:{copy}")["num_known"] == 120


def test_known_rows_without_labels_have_no_accuracy(table, write_table, tmp_path):
    rows = [["50", "2", "Wien", ""], ["30", "", "Oslo", ""]] * 10
    names = ["age", "income (k)", "city", "bought"]
    other = write_table(tmp_path / "other.csv", rows, names)
    with pytest.warns(UserWarning, match="none of the rows to measure on has a label"):
        found = evaluate(table[0], ["noise:gaussian"], dataset=other, scores="energy")
    assert set(found) == {"num_known", "ood"}


def test_a_density_is_measured_without_classes(train, tmp_path):
    train(tmp_path, "toy:moons", train_size=256)
    found = evaluate(tmp_path, ["toy:rings"], dataset="toy:moons")
    assert set(found) == {"num_known", "ood"}
    assert set(found["ood"]["toy:rings"]) == {"energy", "approximate_mass", "knn"}


@pytest.mark.parametrize(
    "foreign, message",
    [
        ("holdout", "--holdout_classes"),
        ("noise:pink", "noise:uniform"),
        ("toy:moons", "vector rows of shape"),
    ],
)
def test_a_foreign_set_that_does_not_fit_is_refused(digits, foreign, message):
    with pytest.raises(ValueError, match=message):
        evaluate(digits[0], [foreign], scores="energy")


def test_a_score_is_chosen_by_stand_ins_and_taken_by_the_export(
    run, digits_model, tmp_path
):
    folder = shutil.copytree(Path(digits_model).parent, tmp_path / "run")
    model = folder / "model.keras"
    settings = ExportSettings(str(model), "digits", score="chosen", target_fpr=0.1)
    with pytest.raises(ValueError, match="no file .*score.json; run .*--choose_score"):
        fit_detector(settings)
    code, out, err = run(
        "trainers.evaluate",
        *[f"--model={model}", "--dataset=digits", "--choose_score"],
        *["--scores=energy,max_softmax,knn", f"--output={tmp_path / 'out.json'}"],
    )
    assert (code, err) == (0, "")
    assert "real foreign inputs may rank the scores otherwise" in out
    choice = json.loads((tmp_path / "out.json").read_text())["score_choice"]
    assert choice == json.loads((folder / "score.json").read_text())
    # Half of the 126 validation rows; of the test split there are 361.
    assert choice["num_rows"] == 63
    sets = {"blends", "shuffled pixels", "scrambled phases", "uniform noise"}
    assert set(choice["stand_ins"]) == sets | {"shuffled quadrants"}
    best = max(choice["scores"].values(), key=lambda found: found["mean"])
    assert choice["scores"][choice["score"]]["mean"] >= best["mean"] - 0.005
    assert fit_detector(settings)[0].score.name == choice["score"]
    choice["weights_sha256"] = "0" * 64
    (folder / "score.json").write_text(json.dumps(choice))
    with pytest.raises(ValueError, match="score.json of other weights than"):
        fit_detector(settings)


def test_a_choice_among_a_tables_scores_says_what_was_not_tried(table):
    choice = evaluate(table[0], [], dataset=table[1], choose_score=True)["score_choice"]
    assert set(choice["stand_ins"]) == {"blends", "shuffled columns", "uniform noise"}
    assert set(choice["scores"]) | set(choice["skipped"]) == {
        *ood.SCORES,
        "energy+knn",
        "energy+class_gaussian",
    }
