"""What `--help` says, and which program a method or a preset is of."""

import re

import pytest

from keras_ebm.trainers.presets import PCD
from keras_ebm.trainers.program import options
from keras_ebm.trainers.run import recipes
from keras_ebm.trainers.run.recipes import CHAINS, DENSITY, VERA, choose


@pytest.fixture(scope="module")
def helps(run):
    """The text of each trainer's `--help`."""
    texts = {}
    for name, more in (("vera", ()), ("langevin", ("--preset", "pcd"))):
        code, texts[name], err = run(f"trainers.{name}", "--help", *more)
        assert (code, err) == (0, "")
    return texts


def flags_of(text):
    return re.findall(
        r"^  --(?:\[no\])?(\w+): (.*?)(?=^  --|^\S|\Z)", text, re.M | re.S
    )


def test_flags_stand_by_subject_each_once(helps):
    for text in helps.values():
        names = [name for name, _ in flags_of(text)]
        assert len(names) == len(set(names)) > 60
        subjects = re.findall(r"^(\w[\w ]*):\n  --", text, re.M)
        assert subjects[0] == "Data" and subjects[-1] == "What is written"
        assert {"Network", "Loss", "Optimizers", "Interrupted runs"} <= set(subjects)


def test_a_program_shows_the_flags_that_it_uses_alone(helps):
    shown = {name for name, _ in flags_of(helps["langevin"])}
    assert {"num_steps", "buffer_size", "learning_rate"} <= shown
    assert not shown & {"generator_learning_rate", "latent_dim", "entropy"}


def test_a_presets_values_are_shown_beside_the_defaults(helps):
    texts = {name: " ".join(text.split()) for name, text in flags_of(helps["langevin"])}
    assert texts["num_steps"].endswith(f"with --preset=pcd: {PCD['num_steps']})")
    assert "one of normal, uniform, data" in texts["start"]
    assert "with --preset" not in texts["dropout"]
    assert "with --preset" not in helps["vera"]


def test_texts_of_flags_are_sentences(helps):
    for text in helps.values():
        for name, lines in flags_of(text):
            words = " ".join(lines.split())
            assert re.match(r".{12,}?[.] ?(.*[.])? \(", words), (name, words)


def test_a_flag_that_the_program_has_no_use_for_is_refused(run):
    flags = ["--dataset=digits", "--generator_learning_rate=0.1", "--dry_run"]
    code, _, err = run("trainers.langevin", *flags)
    assert code == 2
    assert "--generator_learning_rate has no effect in this program" in err


@pytest.mark.parametrize(
    "arguments, recipe",
    [
        (["--method=chains"], CHAINS),
        (["--method", "chains+vat"], CHAINS),
        (["-method", "chains"], CHAINS),
        (["--workdir", "runs/x", "--method", "chains"], CHAINS),
        (["--flagfile={}"], CHAINS),
        (["--preset", "vera_nice"], DENSITY),
        (["--preset=tabular"], VERA),
        (["--preset=tabular", "--method=chains"], CHAINS),
        (["--method=vera+vat"], VERA),
        (["--workdir=chains"], VERA),
        (["--workdir", "--method"], VERA),
        (["--no_such_flag=3", "--flagfile=absent"], VERA),
    ],
)
def test_a_method_or_a_preset_is_found_wherever_it_is_written(
    tmp_path, arguments, recipe
):
    (tmp_path / "flags.txt").write_text("--epochs=3\n--method=chains\n")
    given = [text.format(tmp_path / "flags.txt") for text in arguments]
    assert choose(["trainers.vera", *given], VERA, CHAINS, DENSITY) is recipe


def test_the_flags_of_a_run_of_chains_are_given_back(run, tmp_path):
    flags = ["--dataset=toy:rings", "--toy_rows=200", "--method", "chains"]
    flags += ["--steps=2", "--hidden=8", "--num_steps=2", "--notensorboard"]
    first = tmp_path / "first"
    code, _, err = run("trainers.vera", *flags, "--nopicture", f"--workdir={first}")
    assert code == 0, err
    again = [f"--flagfile={first / 'flags.txt'}", f"--workdir={tmp_path / 'again'}"]
    code, _, err = run("trainers.vera", *again)
    assert code == 0, err
    written = [(tmp_path / n / "flags.txt").read_text() for n in ("first", "again")]
    assert written[0].replace("/first", "/again") == written[1]


def test_each_recipe_knows_its_own_presets_and_methods():
    for recipe in (VERA, CHAINS, DENSITY):
        assert recipe.fit.CHOICES["preset"] == ("", *recipe.presets)
        known = {f.rstrip("_") for f in recipe.settings.__dataclass_fields__}
        known |= set(recipe.fit.__dataclass_fields__)
        for values in recipe.methods.values():
            assert set(values) <= known
    assert recipes.VERA.plane_preset in VERA.presets
    assert recipes.CHAINS.plane_preset in CHAINS.presets
    assert options.peek(["p"], "method") == {"method": ""}


def test_a_flag_that_is_missing_is_told_with_what_it_is_for(run):
    code, _, err = run("export.monitor", "--answers=answers.csv")
    assert code == 2 and err == (
        "monitor: error: --state is required (JSON file of the state, which is created "
        "or goes on). Received: no value; pass --state=VALUE.\n"
    )
