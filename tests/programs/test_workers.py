"""Two real processes that train together."""

import numpy as np
import pytest
from processes import kill_together, together

from keras_ebm.data.batches import rows_of_worker, training_batches
from keras_ebm.trainers.program import devices, keras_files

FLAGS = (
    "--dataset=digits",
    "--train_size=320",
    "--hidden=32",
    "--generator_hidden=16",
    "--latent_dim=4",
    "--importance_samples=4",
    # Those of the batch are made of each replica's own rows.
    "--negatives=generator",
    "--epochs=2",
    "--batch_size=64",
    "--notensorboard",
    "--verbose=0",
)


def test_two_workers_take_the_steps_of_one_and_save_once(start, run, tmp_path):
    alone, both = tmp_path / "alone", tmp_path / "both"
    assert run("trainers.vera", *FLAGS, f"--workdir={alone}")[0] == 0
    codes, outputs = together(start, "trainers.vera", *FLAGS, f"--workdir={both}")
    assert codes == [0, 0], outputs
    assert "accuracy" in outputs[0][0] and outputs[1][0] == ""
    assert {p.name for p in both.iterdir()} == {p.name for p in alone.iterdir()}
    models = [
        keras_files.load_model(folder / "model.keras") for folder in (alone, both)
    ]
    for one, other in zip(*(m.network.get_weights() for m in models), strict=True):
        # Ten steps of Adam, which makes a rounding error of a gradient near 0 a
        # small step; weights are of the size 0.1.
        np.testing.assert_allclose(other, one, atol=1e-3)
    histories = [(f / "history.csv").read_text().split() for f in (alone, both)]
    assert histories[0][0] == histories[1][0]
    names = histories[0][0].split(",")
    last = [dict(zip(names, h[-1].split(","), strict=True)) for h in histories]
    for name in ("loss", "data_energy", "negative_energy", "posterior_loss"):
        one, other = (float(logs[name]) for logs in last)
        assert abs(one - other) < 1e-3 * max(1.0, abs(one)), name


DENSITY_FLAGS = (
    *("--dataset=digits", "--train_size=320", "--hidden=32,32", "--num_couplings=2"),
    *("--learning_rate=0.01", "--steps=24", "--validate_every=4", "--batch_size=64"),
    "--auto_resume",
)


def test_two_workers_train_a_density_as_one_and_continue_when_killed(
    start, run, tmp_path
):
    program = "trainers.likelihood"
    alone, both, killed = (tmp_path / name for name in ("alone", "both", "killed"))
    assert run(program, *DENSITY_FLAGS, f"--workdir={alone}")[0] == 0
    codes, outputs = together(start, program, *DENSITY_FLAGS, f"--workdir={both}")
    assert codes == [0, 0], outputs
    assert "test_log_likelihood" in outputs[0][0]
    assert {p.name for p in both.iterdir()} == {p.name for p in alone.iterdir()}
    rows = [
        np.genfromtxt(folder / "history.csv", delimiter=",", names=True)
        for folder in (alone, both)
    ]
    assert rows[0].dtype == rows[1].dtype
    for name in rows[0].dtype.names:
        np.testing.assert_allclose(rows[1][name], rows[0][name], rtol=1e-3)

    kill_together(start, program, 4, *DENSITY_FLAGS, f"--workdir={killed}")
    assert not (killed / "model.keras").exists()
    codes, outputs = together(start, program, *DENSITY_FLAGS, f"--workdir={killed}")
    assert codes == [0, 0], outputs
    assert "Epoch 3/6" not in outputs[0][0]
    models = [keras_files.load_model(f / "model.keras") for f in (alone, both, killed)]
    weights = [model.network.get_weights() for model in models]
    for one, two, continued in zip(*weights, strict=True):
        np.testing.assert_allclose(two, one, atol=1e-3)
        np.testing.assert_array_equal(continued, two)
    history = (both / "history.csv").read_text()
    assert (killed / "history.csv").read_text() == history


def test_chains_of_a_density_on_several_workers_are_refused(start, tmp_path):
    flags = ("--dataset=digits", "--buffer_size=128", f"--workdir={tmp_path / 'run'}")
    for method, remedy in (
        ("persistent_chains", "another method"),
        ("vera", "correction=none"),
    ):
        codes, outputs = together(
            start, "trainers.likelihood", *flags, f"--method={method}"
        )
        assert codes == [2, 2]
        for _, err in outputs:
            assert "`buffer` cannot be saved whole from several workers" in err
            assert f"or {remedy}." in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_each_worker_gets_its_rows_of_each_batch():
    x = np.arange(12, dtype=np.float32)[:, None]
    whole, _ = training_batches(x, np.full(12, -1), batch_size=6, seed=0)
    batches = [batch[0].numpy() for batch in whole.take(4)]
    for index in range(2):
        own = rows_of_worker(whole, 6, index, 2)
        made = np.concatenate([batch[0] for batch in own.take(2)])
        rows = slice(3 * index, 3 * index + 3)
        expected = np.concatenate([batch[rows] for batch in batches])
        np.testing.assert_array_equal(made, expected)


def test_without_a_cluster_it_is_refused(run, tmp_path):
    flags = ("--strategy=multiworker", f"--workdir={tmp_path / 'run'}")
    code, _, err = run("trainers.vera", "--dataset=digits", *flags)
    assert code == 2 and "needs TF_CONFIG" in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_buffer_on_several_workers_is_refused(start, tmp_path):
    codes, outputs = together(
        start,
        "trainers.langevin",
        "--dataset=digits",
        "--buffer_size=128",
        "--storage=uint8",
        f"--workdir={tmp_path / 'run'}",
    )
    assert codes == [2, 2]
    for _, err in outputs:
        assert "`buffer` cannot be saved whole from several workers" in err
        assert "or buffer=none." in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_chains_that_correct_a_generator_on_several_workers_are_refused(
    start, tmp_path
):
    flags = ("--correction=chains", f"--workdir={tmp_path / 'run'}")
    codes, outputs = together(start, "trainers.vera", "--dataset=digits", *flags)
    assert codes == [2, 2]
    for _, err in outputs:
        assert "or correction=none." in err and err.count("\n") == 1


@pytest.mark.parametrize("text", ["", "{}", '{"cluster": {"worker": []}}', "no json"])
def test_a_config_that_names_no_worker_is_refused(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="needs TF_CONFIG"):
        devices.make_strategy("multiworker")
