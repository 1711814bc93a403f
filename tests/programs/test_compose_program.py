"""`trainers.compose`, as a program and by its parts."""

import json

import keras
import numpy as np
import pytest

from keras_ebm.data import draw_sprites
from keras_ebm.trainers.run.composing import Judge, Targets
from keras_ebm.trainers.run.sprite_rows import FIRST, ORDER, sprite_rows
from keras_ebm.trainers.settings.composing import ComposeSettings

TINY = (
    *("--rows=100", "--side=16", "--steps=2", "--batch_size=4", "--filters=2"),
    *("--num_steps=1", "--buffer_size=8", "--samples=9", "--walk_steps=2"),
    *("--judge_steps=2", "--compositions=two,or"),
)


def test_the_program_composes_judges_and_draws(run, tmp_path):
    folder = tmp_path / "composed"
    code, out, err = run("trainers.compose", *TINY, f"--output={folder}")
    assert code == 0, err
    found = json.loads((folder / "results.json").read_text())
    shares = {k: v for k, v in found.items() if not k.startswith("seconds")}
    assert all(0.0 <= share <= 1.0 for share in shares.values())
    assert {"two_together", "union_first"} <= set(found)
    assert "three_together" not in found
    assert "two_together" in out
    assert (folder / "picture.png").stat().st_size > 1_000
    assert keras.saving.load_model(folder / "size.keras").num_classes == 3


def test_a_dry_run_writes_nothing(run, tmp_path):
    code, out, err = run(
        "trainers.compose", "--filters=2", "--dry_run", f"--output={tmp_path / 'new'}"
    )
    assert code == 0, err
    assert "parameters" in out and not (tmp_path / "new").exists()


@pytest.mark.parametrize("fold", [0, 2])
def test_what_is_asked_for_was_never_shown(fold):
    settings = ComposeSettings(rows=300, side=16, fold=fold, samples=27)
    rows = sprite_rows(settings)
    shown = set(map(tuple, rows.labels[:, :2]))
    targets = Targets.of(settings)
    labels = [FIRST[n] + getattr(targets, n) for n in ("position", "size")]
    asked = set(zip(*labels, strict=True))
    assert len(shown) == 18 and len(asked) == 9 and not shown & asked


def test_the_judge_is_right_of_real_sprites_and_finds_none_in_noise():
    sprites = draw_sprites(50, seed=3, side=32)
    judge = Judge({}, {})
    x = sprites.images / 255.0
    found = judge.attributes(x)
    np.testing.assert_array_equal(found["size"], sprites.size)
    np.testing.assert_array_equal(found["position"], sprites.position)
    noise = np.random.default_rng(0).uniform(0, 1, x.shape)
    assert (judge.attributes(noise)["size"] == -1).all()
    assert ORDER == tuple(FIRST)
