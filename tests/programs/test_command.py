"""The command `keras-ebm`, as a process of its own from a folder of the user's."""

import subprocess
import sys
from pathlib import Path

import pytest

from keras_ebm_cli import PROGRAMS, description

#: The command that pip installs, beside the Python that runs the tests.
COMMAND = Path(sys.executable).with_name("keras-ebm")


@pytest.fixture
def command(tmp_path):
    def run(*arguments):
        return subprocess.run(
            [COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True
        )

    return run


def test_the_command_lists_every_program_without_tensorflow(command):
    done = command()
    assert (done.returncode, done.stderr) == (0, "")
    for name in PROGRAMS:
        assert f"  {name:18s} {description(name)}\n" in done.stdout
    loaded = "import keras_ebm_cli, sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded]).returncode == 0


def test_a_wrong_name_is_refused_with_the_nearest_one(command):
    done = command("train-vra", "--dataset=digits")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        "keras-ebm: error: the first argument must be the name of a program. "
        "Received: 'train-vra'; did you mean train-vera?\n"
    )


def test_the_version_is_told(command):
    assert command("--version").stdout == "keras_ebm 0.1.0\n"


def test_each_program_has_its_module_and_its_folder_in_the_checkout():
    for name, module in PROGRAMS.items():
        assert description(name), name
        folder, stem = module.split(".")[1:]
        shim = Path(__file__).parents[2] / folder / f"{stem}.py"
        assert f'run("{name}")' in shim.read_text("utf-8")


def test_a_model_is_trained_from_any_folder_without_tensorflows_notes(
    command, tmp_path
):
    flags = ["--dataset=digits", "--hidden=8", "--epochs=1", "--verbose=0"]
    done = command("train-vera", *flags, "--notensorboard", "--workdir=run")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "run" / "model.keras").is_file()
