"""What the two exporters share: flags, calibration rows, one line at the end."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

from absl import app, flags

from keras_ebm import ood
from keras_ebm.data import load_splits, seen_rows
from keras_ebm.digests import array_digest
from keras_ebm.explain import Explainer
from keras_ebm.export.about import about
from keras_ebm.rows import num_rows, take
from keras_ebm.trainers.program import errors, folders, json_files, keras_files, options
from keras_ebm.trainers.program.imports import ImportSettings
from keras_ebm.trainers.program.options import Checked, setting
from keras_ebm.trainers.run import record
from keras_ebm.trainers.settings import clashes

FLAGS = flags.FLAGS
#: Value of --score: the one in `folders.SCORE_FILE`.
CHOSEN = "chosen"


@dataclasses.dataclass(frozen=True)
class ExportSettings(Checked):
    """What to export, how it is calibrated, and where it goes."""

    model: str = setting("", "model.keras in the folder of its run.")
    calibration: str = setting(
        "",
        "Spec of calibration rows. The training data's spec takes the calibration "
        "split of the run; other data must hold no row that training saw.",
    )
    data_dir: str = setting("", "Folder of prepared tensorflow-datasets.")
    target: str | None = setting(
        None, "Label column of a csv; default that of the run. Empty if there is none."
    )
    target_fpr: float | None = setting(
        None,
        "Share of known inputs that may be refused; default 0.01, or the smallest "
        "that few calibration rows can keep.",
        above=0,
        below=1,
    )
    score: str = setting(
        "energy",
        f"Score of the decision: one of {', '.join(ood.SCORES)}, or some of them "
        "joined by +; or chosen, by keras-ebm evaluate --choose_score. Choose it "
        "before looking at foreign data.",
    )
    equal_rows: bool = setting(
        False,
        "Calibrate on other data although some of it has the same values as training "
        "rows. Say so only if they are other rows that happen to be equal.",
    )
    per_class: bool = setting(False, "Calibrate within each predicted class.")
    explain: bool = setting(
        False,
        "Also export the signatures explain (contributions of a table's columns to "
        "the energy) and acceptable (the smallest change that passes); with "
        "--score=energy.",
    )
    evaluation: str = setting(
        "",
        "What keras-ebm evaluate --output wrote of this model, whose foreign sets the "
        "card of the export then shows.",
    )
    output: str = setting("", "Folder DIR/NAME; versions are DIR/NAME/1, 2, ...")
    skip_broken_images: bool = setting(
        False, "Whether files of images:DIR that cannot be decoded are left out."
    )


def define_flags() -> None:
    """Defines the flags of an exporter."""
    for settings_class in (ExportSettings, ImportSettings):
        options.define_flags(settings_class)


def fit_detector(settings: ExportSettings):
    """Loads a model and calibrates its decision.

    Args:
        settings: `ExportSettings`.

    Returns:
        `(detector, rows)`: the `Detector` and the calibration rows.

    Raises:
        ValueError: if the model, the data or the rate does not serve.
    """
    model = keras_files.load_model(settings.model)
    if not record.read_record(settings.model).get("can_calibrate", True):
        raise ValueError(
            "`model` must come from keras-ebm train-vera, which keeps rows for "
            f"calibration. Received: {settings.model} of keras-ebm train-likelihood, "
            "which validated on them."
        )
    record.check_bound(model, settings.model)
    score = settings.score
    if score == CHOSEN:
        score = chosen_score(settings.model, model)
    rows = calibration_rows(settings)
    parts = {}
    if ood.make_score(score).fitted_names:
        run = record.recall(settings.model, data_dir=settings.data_dir)
        parts = {name: run.rows(name) for name in ("train", "validation")}
    detector = ood.Detector.calibrate(
        model,
        rows,
        score=score,
        target_fpr=settings.target_fpr,
        per_class=settings.per_class,
        **parts,
    )
    return detector, rows


def chosen_score(path: str, model) -> str:
    """The score that `keras-ebm evaluate --choose_score` chose for a model.

    Raises:
        ValueError: if it chose none, for other weights, or what is no score.
    """
    file = Path(path).parent / folders.SCORE_FILE
    remedy = (
        f"run keras-ebm evaluate --model={path} --choose_score with its "
        "--dataset and --output, or name a score"
    )
    if not file.is_file():
        raise ValueError(
            f"`score` 'chosen' must have been chosen. Received: no file {file}; "
            f"{remedy}."
        )
    shape = {"score": str, "weights_sha256": str}
    chosen = json_files.read_shaped(file, shape, remedy)
    if chosen["weights_sha256"] != array_digest(model.network.get_weights()):
        raise ValueError(
            "`score` 'chosen' must have been chosen for this model. Received: "
            f"{file} of other weights than {path}; {remedy}."
        )
    try:
        ood.make_score(chosen["score"])
    except ValueError as error:
        raise ValueError(f"{file}: {error} To choose again, {remedy}.") from error
    return chosen["score"]


def fit_explainer(settings: ExportSettings, detector: ood.Detector) -> Explainer:
    """Explanations of a detector's decisions, from the training rows of the run.

    Raises:
        ValueError: if the model is none of a table, or the score not the energy.
    """
    spec, data_dir = settings.calibration, settings.data_dir
    # The recorded file may have moved to where the calibration rows are read from.
    own = record.is_training_data(settings.model, spec, data_dir)
    run = record.recall(settings.model, spec if own else "", data_dir)
    return Explainer.for_detector(detector, run.rows("train")[0])


def calibration_rows(settings: ExportSettings) -> Any:
    """Raw rows to calibrate on; see `ExportSettings.calibration`.

    Raises:
        ValueError: if more of them are equal to rows that training or the choice of
            the model saw than happens by chance.
    """
    spec = settings.calibration
    if record.is_training_data(settings.model, spec, settings.data_dir):
        run = record.recall(settings.model, spec, settings.data_dir)
        return run.rows("calibration")[0]
    other = record.load_like(
        settings.model,
        spec,
        settings.data_dir,
        settings.target,
        settings.skip_broken_images,
    )
    splits = load_splits(record.split_path(settings.model))
    check_equal_rows(settings, int(seen_rows(other.x, splits).sum()), other.num_rows)
    return other.x


def check_equal_rows(settings: ExportSettings, equal: int, count: int) -> None:
    """Tells rows that training saw from such as merely have the same values.

    Values alone cannot: in a table of a few words most rows occur often. But no
    training saw the run's own calibration and test rows, so that their share of
    equal ones is what chance gives.

    Raises:
        ValueError: if there are more than that, and `settings` do not insist.
    """
    if not equal:
        return
    spec = settings.calibration
    chance = record.read_record(settings.model).get("equal_rows")
    known = (
        "of its own it is not recorded how many are, as for a run of an earlier version"
        if chance is None
        else f"as {chance[0]} of the {chance[1]} rows are that the run kept from both"
    )
    if not settings.equal_rows and not (chance and _by_chance(equal, count, *chance)):
        raise ValueError(
            "`calibration` must hold no row that training or validation saw, as "
            "that would void the false-alarm rate. Received: "
            f"{spec}, of whose {count} rows {equal} equal one of theirs ({known}). "
            "Pass the training data's own spec to use the split that the run recorded, "
            "or --equal_rows if these are other rows that happen to be equal."
        )
    warnings.warn(
        f"{equal} of the {count} rows of {spec} equal a row that training or "
        f"validation saw ({known}); they are taken for other rows",
        stacklevel=2,
    )


def _by_chance(equal, count, chance_equal, chance_count) -> bool:
    """Whether two shares differ by no more than three standard errors."""
    pooled = (equal + chance_equal) / (count + chance_count)
    variance = pooled * (1.0 - pooled) * (1.0 / count + 1.0 / chance_count)
    return equal / count - chance_equal / chance_count <= 3.0 * variance**0.5


def main_of(export, settings_class=ExportSettings):
    """Returns the `main` of an exporter around `export(detector, output, x, ...)`."""

    def main(argv):
        del argv
        for name in ("model", "calibration", "output"):
            options.require(name)
        clashes.check(clashes.EXPORT)
        settings = options.from_flags(settings_class)
        if settings.explain and settings.score not in ("energy", CHOSEN):
            raise app.UsageError(
                "--explain needs --score=energy, which is what it explains. Received: "
                f"--score={settings.score}; leave one of them out."
            )
        with errors.usage_errors():
            with record.held_still(settings.model):
                detector, rows = fit_detector(settings)
                explain = settings.explain
                explainer = fit_explainer(settings, detector) if explain else None
                told = about(settings, detector)
        try:
            path = export(
                detector,
                settings.output,
                take(rows, slice(256)),
                explainer=explainer,
                about=told,
            )
        except (ValueError, ImportError, RuntimeError) as error:
            raise app.UsageError(str(error)) from error
        print(
            f"{path}: score {detector.score.name}, false-alarm rate "
            f"{detector.target_fpr:g} on {num_rows(rows)} calibration rows, verified"
        )

    return main
