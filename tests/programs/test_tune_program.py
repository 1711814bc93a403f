import csv
import dataclasses
import importlib
import sys

import numpy as np
import pytest
from processes import free_ports, kill_at

from keras_ebm.trainers import tune
from keras_ebm.trainers.program import json_files, keras_files
from keras_ebm.trainers.run import fitting, transforms
from keras_ebm.trainers.run.record import recall
from keras_ebm.trainers.search import setup, spaces, table
from keras_ebm.trainers.search.task import Task, validation_nll
from keras_ebm.trainers.settings.chains import ChainSettings
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.unlabelled import CHAIN_METHODS, VERA_METHODS
from keras_ebm.trainers.settings.vera import ModelSettings, build_model

trials = pytest.importorskip("keras_ebm.trainers.search.trials")
# Of keras-tuner, by the names of its threads.
pytestmark = [
    pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:getName:DeprecationWarning"),
]

#: Three trials of six steps in two parts.
FLAGS = [
    "--dataset=digits",
    "--train_size=200",
    "--method=supervised",
    "--hidden=16",
    "--batch_size=32",
    "--steps=6",
    "--validate_every=3",
    "--tuner=random",
    "--trials=3",
]


def table_in(workdir):
    with (workdir / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"]
    return rows


@pytest.fixture(scope="module")
def searched(run, tmp_path_factory):
    """A search by the program, in one go, and its output."""
    workdir = tmp_path_factory.mktemp("searched")
    code, out, err = run("trainers.tune", *FLAGS, f"--workdir={workdir}")
    assert code == 0, err
    return workdir, out


@pytest.fixture(scope="module")
def rows():
    settings = DataSettings(dataset="digits", train_size=200)
    return load(settings)


def make_task(rows, workdir, space, tuner="random", count=2, parts=1):
    fit = fitting.FitSettings(
        workdir=str(workdir),
        steps=2 * parts,
        validate_every=2,
        batch_size=32,
        keep_best=True,
        tensorboard=False,
        picture=False,
        verbose=0,
    )
    settings = ModelSettings(negatives="none", gradient_penalty=0.0, hidden=("8",))
    return Task(rows, settings, fit, build_model, space, tuner, count)


def test_a_search_ends_in_the_run_folder_of_its_best_trial(searched):
    workdir, out = searched
    table = table_in(workdir)
    assert [row["trial"] for row in table] == ["0", "1", "2"]
    assert {row["status"] for row in table} == {"completed"}
    assert {row["steps"] for row in table} == {"6"}
    merits = [(-float(row["val_accuracy"]), float(row["val_nll"])) for row in table]
    assert f"best: trial {merits.index(min(merits))}" in out
    assert "| trial | status | val_accuracy | val_nll |" in out
    metrics = json_files.read_json(workdir / "metrics.json")
    assert f"accuracy   {metrics['accuracy']:.4f}" in out
    assert not list(workdir.rglob("backup")) and not list(workdir.rglob("best"))
    # The test rows were measured once, when all was chosen.
    assert [path.parent for path in workdir.rglob("metrics.json")] == [workdir]


def test_the_best_model_is_one_that_was_validated(searched):
    workdir, _ = searched
    model = keras_files.load_model(workdir / "model.keras")
    run = recall(workdir / "model.keras")
    values = [float(row["val_accuracy"]) for row in table_in(workdir)]
    assert transforms.validation_accuracy(model, run) == max(values)


def test_the_flags_of_the_best_trial_train_it_again(searched, train, tmp_path):
    workdir, _ = searched
    lines = (workdir / "flags.txt").read_text().splitlines()
    flags = dict(line.removeprefix("--").split("=", 1) for line in lines)
    assert flags["workdir"] == str(workdir) and flags["hidden"] == "16"
    model, metrics = train(
        tmp_path,
        "digits",
        train_size=200,
        model={
            "hidden": ("16",),
            "negatives": flags["negatives"],
            "gradient_penalty": 0.0,
            **{k: float(flags[k]) for k in ("dropout", "data_stddev", "learning_rate")},
        },
        fit={
            "steps": 6,
            "validate_every": 3,
            "batch_size": 32,
            "augment": flags["augment"],
            "keep_best": True,
        },
    )
    assert metrics == json_files.read_json(workdir / "metrics.json")


def test_the_best_model_is_evaluated_and_exported(searched, tmp_path):
    from keras_ebm.export.common import ExportSettings, fit_detector
    from keras_ebm.serving import export_classifier
    from keras_ebm.trainers.evaluate import EvaluateSettings, evaluate

    path = str(searched[0] / "model.keras")
    results = evaluate(
        EvaluateSettings(model=path, dataset="digits", scores="energy", resamples=2),
        ["noise:uniform"],
    )
    metrics = json_files.read_json(searched[0] / "metrics.json")
    assert results["accuracy"] == pytest.approx(metrics["accuracy"])
    detector, probe = fit_detector(
        ExportSettings(model=path, calibration="digits", output=str(tmp_path / "out"))
    )
    assert export_classifier(detector, str(tmp_path / "out"), probe)


def test_the_trials_are_drawn(searched):
    from matplotlib import image

    picture = image.imread(searched[0] / "trials.png")
    assert min(picture.shape[:2]) > 300
    # Three lines of their own colours, and a bar with many.
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 100


def test_a_killed_search_goes_on_where_it_was(searched, run, tmp_path):
    flags = [*FLAGS, f"--workdir={tmp_path}"]
    # In the second trial, which has its first backup by then.
    kill_at(
        run,
        "keras_ebm.trainers.run.backup:EpochBackup.on_epoch_end",
        4,
        "trainers.tune",
        *flags,
    )
    first = tmp_path / "search" / "trial_0" / "run" / "result.json"
    done = first.stat().st_mtime_ns
    history = tmp_path / "search" / "trial_1" / "run" / "history.csv"
    assert history.is_file() and not history.with_name("result.json").exists()
    code, out, err = run("trainers.tune", *flags)
    assert code == 0, err
    assert first.stat().st_mtime_ns == done
    assert "trial 0:" not in out and "trial 1:" in out and "trial 2:" in out
    assert table_in(tmp_path) == table_in(searched[0])
    metrics = (searched[0] / "metrics.json").read_text()
    assert (tmp_path / "metrics.json").read_text() == metrics


@pytest.fixture
def share(monkeypatch):
    """Makes the next process that a test starts one of a shared search."""
    (port,) = free_ports(1)
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(port))
    return lambda name: monkeypatch.setenv("KERASTUNER_TUNER_ID", name)


def test_a_chief_and_two_workers_share_a_search(searched, start, run, share, tmp_path):
    flags = [*FLAGS, f"--workdir={tmp_path}"]
    share("chief")
    processes = [start("trainers.tune", *flags)]
    share("worker0")
    # Within its first trial; the chief waits for it to come back.
    kill_at(
        run,
        "keras_ebm.trainers.run.backup:EpochBackup.on_epoch_end",
        2,
        "trainers.tune",
        *flags,
    )
    for name in ("worker0", "worker1"):
        share(name)
        processes.append(start("trainers.tune", *flags))
    try:
        outputs = [process.communicate() for process in processes]
    finally:
        for process in processes:
            process.kill()
    errors = [err for _, err in outputs]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    chief, *workers = [out for out, _ in outputs]
    lines = [line for out in workers for line in out.splitlines()]
    trained = sorted(line.split(":")[0] for line in lines if line.startswith("trial"))
    assert trained == ["trial 0", "trial 1", "trial 2"]
    assert "best: trial" in chief and not any("best:" in out for out in workers)
    assert table_in(tmp_path) == table_in(searched[0])
    metrics = (searched[0] / "metrics.json").read_text()
    assert (tmp_path / "metrics.json").read_text() == metrics


def test_a_trial_that_diverges_has_failed(rows, tmp_path, capsys):
    rates = (1e-3, 1e38)
    space = (spaces.Parameter("learning_rate", "choice", values=rates),)
    tuner = trials.open_tuner(make_task(rows, tmp_path, space), False)
    tuner.search()
    found = {row["learning_rate"]: row for row in table.table_of(tuner)}
    assert found[1e-3]["status"] == "completed"
    failed = found[1e38]
    assert failed["status"] == "failed" and failed["val_accuracy"] is None
    assert "training stopped" in failed["reason"]
    assert (
        f"trial {failed['trial']} failed: training stopped" in capsys.readouterr().err
    )
    best = table.by_merit(list(found.values()), tuner.task.objective)[0]
    assert best["learning_rate"] == 1e-3
    text = table.markdown(list(found.values()), tuner.task.objective)
    assert text.splitlines()[-1].split(" | ")[1] == "failed"
    table.draw(tmp_path / "trials.png", tuner.task, list(found.values()))
    assert (tmp_path / "trials.png").stat().st_size > 1000


def test_a_fault_of_the_program_is_no_failed_trial(rows, tmp_path, monkeypatch):
    space = (spaces.Parameter("dropout", "linear", (0.0, 0.5)),)
    tuner = trials.open_tuner(make_task(rows, tmp_path, space), False)
    place = "keras_ebm.trainers.search.task.classifier_measures"
    monkeypatch.setattr(place, lambda *_: 1 / 0)
    with pytest.raises(RuntimeError, match="division"):
        tuner.search()


def test_hyperband_goes_on_with_a_trial_as_if_it_had_not_stopped(rows, tmp_path):
    space = (spaces.Parameter("learning_rate", "log", (1e-3, 1e-1)),)
    task = make_task(rows, tmp_path, space, "hyperband", count=4, parts=3)
    tuner = trials.open_tuner(task, False)
    tuner.search()
    found = table.table_of(tuner)
    assert [row["steps"] for row in found] == [2, 2, 2, 6]
    best = max(found[:3], key=lambda row: row["val_accuracy"])
    assert found[3]["after"] == best["trial"]
    folder = tuner.folder_of(found[3]["trial"])
    values = {"learning_rate": found[3]["learning_rate"]}
    whole = task.prepare(values, tmp_path / "whole").train()
    promoted = keras_files.load_model(folder / "model.keras")
    for one, other in zip(whole.weights, promoted.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    history = (tmp_path / "whole" / "history.csv").read_text()
    assert (folder / "history.csv").read_text() == history


@pytest.mark.parametrize("damage", ["oracle", "trial", "orphan"])
def test_files_that_a_kill_left_are_mended(rows, tmp_path, damage):
    space = (spaces.Parameter("dropout", "linear", (0.0, 0.5)),)
    tuner = trials.open_tuner(make_task(rows, tmp_path, space), False)
    trial = tuner.oracle.create_trial("tuner0")
    tuner.save()
    search = tmp_path / "search"
    if damage == "orphan":
        # A trial's file is written before the oracle's that names it.
        state = json_files.read_json(search / "oracle.json")
        state |= {"start_order": [], "ongoing_trials": {}, "tried_so_far": []}
        state["seed_state"] = state["seed"]
        json_files.write_json(search / "oracle.json", state)
    else:
        name = {"oracle": "oracle.json", "trial": "trial_0/trial.json"}[damage]
        (search / name).write_text("{")
    again = trials.open_tuner(make_task(rows, tmp_path, space), False)
    assert not again.oracle.trials
    repeated = again.oracle.create_trial("tuner0")
    assert repeated.hyperparameters.values == trial.hyperparameters.values


def test_the_likelihood_of_points_is_that_of_a_known_density():
    class Model:
        def energy(self, x):
            return 0.5 * np.sum(np.square(x), axis=-1)

    class Run:
        def rows(self, part):
            assert part == "validation"
            return np.array([[0.0, 1.0], [2.0, 0.0]], np.float32), None

    expected = (0.5 + 2.0) / 2 + np.log(2 * np.pi)
    assert validation_nll(Model(), Run()) == pytest.approx(expected, abs=1e-5)


FLAT = {**dataclasses.asdict(ModelSettings()), "network": "mlp"}
CHAINS = {**dataclasses.asdict(ChainSettings()), "network": "mlp"}


@pytest.mark.parametrize("family", spaces.FAMILIES)
@pytest.mark.parametrize("method", [*VERA_METHODS, *CHAIN_METHODS])
def test_a_method_has_the_parameters_that_it_listens_to(family, method):
    flags = CHAINS if method in CHAIN_METHODS else FLAT
    space = spaces.space_of(family, method, flags, {"batch_size": 1000, "features": 64})
    names = {parameter.name for parameter in space}
    parts = set(method.split("+"))
    assert len(names) == len(space) and "learning_rate" in names
    assert ("generator_learning_rate" in names) == ("vera" in parts)
    assert ("num_steps" in names) == ("chains" in parts)
    if family != "density":
        assert ("adversarial_radius" in names) == ("vat" in parts)
        assert ("pseudo_label_weight" in names) == ("pseudo_label" in parts)
        assert ("energy_weight" in names) == bool(parts & {"vera", "chains"})
    known = set(flags) | set(dataclasses.asdict(fitting.FitSettings()))
    assert {parameter.flag for parameter in space} <= known


def test_a_space_leaves_out_what_cannot_be():
    limits = {"batch_size": 70, "features": 3}
    space = spaces.space_of("tables", "vera", FLAT, limits, fixed={"hidden"})
    named = {parameter.name: parameter for parameter in space}
    assert named["batch_size"].values == (32, 64)
    assert "latent_dim" not in named and "hidden_width" not in named
    convolutional = {**FLAT, "network": "convolutional"}
    space = spaces.space_of("images", "vera", convolutional, dict.fromkeys(limits, 9))
    assert not {"hidden_width", "dropout", "batch_size"} & {p.name for p in space}


def test_without_a_generator_nothing_of_one_is_searched():
    limits = {"batch_size": 1000, "features": 64}
    flags = {**FLAT, "negatives": "mixture"}
    space = spaces.space_of("tables", "vera", flags, limits)
    names = {parameter.name for parameter in space}
    assert "energy_weight" in names
    assert not {"latent_dim", "generator_width", "entropy_weight"} & names


def test_widths_and_depths_become_layers():
    values = {"hidden_width": 64, "hidden_depth": 2, "dropout": 0.1, "tuner/epochs": 3}
    assert spaces.flags_of(values) == {"hidden": ("64", "64"), "dropout": 0.1}


@pytest.mark.parametrize(
    "flags, fragments",
    [
        (["--dataset=digits", "--method=vat+vera"], ["--method", "vera+vat"]),
        (["--dataset=digits", "--preset=pcd"], ["`preset` of method vera", "vera_2d"]),
        (["--dataset=toy:rings", "--method=vat"], ["`method` vat needs labels"]),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, flags, fragments):
    code, out, err = run("trainers.tune", *flags, f"--workdir={tmp_path / 'new'}")
    assert code == 2 and not out and not (tmp_path / "new").exists()
    line = [line for line in err.splitlines() if line.startswith("tune: error: ")]
    assert len(line) == 1 and err.rstrip().endswith(line[0])
    for fragment in fragments:
        assert fragment in line[0]


def test_too_few_labels_to_choose_by_are_refused(rows):
    y = rows.dataset.y.copy()
    y[rows.splits.validation[19:]] = -1
    few = dataclasses.replace(rows, dataset=dataclasses.replace(rows.dataset, y=y))
    with pytest.raises(ValueError, match="20 labelled validation rows.*which has 19"):
        setup.check_objective(few, "vera", ModelSettings())


@pytest.mark.parametrize(
    "spec, settings, message",
    [
        ("toy:rings", {"objective": "logistic"}, "must be contrastive"),
        ("npz", {}, "no likelihood of validation rows"),
    ],
)
def test_energies_without_a_likelihood_are_refused(tmp_path, spec, settings, message):
    if spec == "npz":
        np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(60, 3)))
        spec = f"npz:{tmp_path / 'x.npz'}"
    run = load(DataSettings(dataset=spec, toy_rows=100))
    with pytest.raises(ValueError, match=message):
        setup.check_objective(run, "vera", ModelSettings(**settings))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"trials": 0}, "`trials` must be an integer of at least 1"),
        ({"steps": 250}, "must divide `steps`"),
        ({"steps": 200}, "hyperband needs `steps` of three"),
    ],
)
def test_lengths_that_make_no_search_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        setup.check_lengths(setup.TuneSettings(**changes))


def test_another_search_in_the_folder_is_refused(rows, tmp_path):
    space = (spaces.Parameter("dropout", "linear", (0.0, 0.5)),)
    task = make_task(rows, tmp_path, space)
    setup.open_search(task, "alone", trials)
    setup.open_search(dataclasses.replace(task, trials=9), "alone", trials)
    wider = (spaces.Parameter("dropout", "linear", (0.0, 0.6)),)
    seed = dataclasses.replace(rows.settings, seed=1)
    others = {
        "space": {"space": wider},
        "seed": {"run": dataclasses.replace(rows, settings=seed)},
        "tuner": {"tuner": "bayesian"},
    }
    for name, change in others.items():
        with pytest.raises(ValueError, match=f"another search.*another {name};"):
            setup.open_search(dataclasses.replace(task, **change), "alone", trials)


def test_the_folder_of_a_run_is_no_folder_for_a_search(rows, tmp_path):
    (tmp_path / "model.keras").touch()
    space = (spaces.Parameter("dropout", "linear", (0.0, 0.5)),)
    with pytest.raises(ValueError, match="`workdir` must be a folder of its own"):
        setup.open_search(make_task(rows, tmp_path, space), "alone", trials)


def test_half_of_keras_tuners_variables_are_refused():
    ip, port, name = (
        "KERASTUNER_ORACLE_IP",
        "KERASTUNER_ORACLE_PORT",
        "KERASTUNER_TUNER_ID",
    )
    assert tune.role_of({}) == tune.role_of({name: "tuner0"}) == "alone"
    assert tune.role_of({ip: "host", port: "1", name: "chief"}) == "chief"
    assert tune.role_of({ip: "host", port: "1", name: "worker0"}) == "worker"
    with pytest.raises(ValueError, match=f"Received: {ip} and {name} alone"):
        tune.role_of({ip: "host", name: "chief"})


def test_keras_tuner_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_tuner", None)
    monkeypatch.delitem(sys.modules, "keras_ebm.trainers.search.trials")
    with pytest.raises(ImportError, match=r'pip install "keras_ebm\[tune\]"'):
        tune.import_trials()
    monkeypatch.undo()
    assert importlib.import_module("keras_ebm.trainers.search.trials") is trials
