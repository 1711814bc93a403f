"""Flags that other flags leave without effect: whoever passes one is told so.

A flag that came from a `--flagfile` is let through, as the `flags.txt` of a run holds
all of them, and so is one that a preset or a method sets.
"""

from collections.abc import Collection
from typing import NamedTuple

from absl import app

from keras_ebm import data
from keras_ebm.arguments import listed
from keras_ebm.trainers.program import flag_errors
from keras_ebm.trainers.program.flag_errors import FLAGS
from keras_ebm.trainers.settings.generator import ESTIMATOR_SETTINGS, estimators_offered
from keras_ebm.trainers.settings.negatives import with_generator
from keras_ebm.trainers.settings.networks import IGEBM


class Rule(NamedTuple):
    """Flags that only mean something where another one has certain values.

    `flags` and `needs` are names, the first with spaces between them. With no values
    in `among`, any that is not empty, 0 or false will do. The value of `dataset`,
    `calibration` and `from` is what stands before the colon.
    """

    flags: str
    needs: str
    among: tuple = ()


_CORRECTIONS = ("auto", "weights", "resample", "latent", "chains")
_GENERATOR = (
    "latent_dim generator_network generator_filters generator_normalization "
    "generator_hidden generator_activation decoder_skip initial_stddev min_stddev "
    "max_stddev stddev_per_entry entropy entropy_weight generator_learning_rate "
    "generator_beta_1 posterior_learning_rate correction minimum_share"
)
#: The flags of each entropy estimator, by its name.
_ESTIMATOR_FLAGS = {
    name: " ".join(dict.fromkeys(settings.values()))
    for name, settings in ESTIMATOR_SETTINGS.items()
}
_MOVES = "move_leapfrog initial_step_size move_acceptance move_adaptation"
_SLICED = ("sliced_score_matching", "sliced_score_matching_vr")
_VECTORS = tuple(dict.fromkeys((*data.sources_of("vector"), *data.sources_of("table"))))


def _taken_by(argument: str, needs: str, flag: str = "") -> Rule:
    """The rule of the flag of an argument that some data sources take."""
    return Rule(flag or argument, needs, data.sources_of(taking=argument))


DATA = [
    _taken_by("target", "dataset"),
    _taken_by("ignore_columns", "dataset"),
    _taken_by("missing", "dataset", "missing_words"),
    _taken_by("num_rows", "dataset", "toy_rows"),
    _taken_by("skip_broken_images", "dataset"),
    Rule("transform", "dataset", _VECTORS),
    Rule("drop_constant categories", "dataset", data.sources_of("table")),
    Rule("pixel_range", "dataset", data.sources_of("image")),
]
TRAINING = [
    Rule("decay_epochs decay_rate", "schedule", ("steps",)),
    Rule("pseudo_label_threshold", "pseudo_label_weight"),
    Rule("spread_weight", "pseudo_labels", ("label_spreading", "auto")),
    Rule("adversarial_radius", "virtual_adversarial_weight"),
    Rule("adversarial_norm adversarial_steps adversarial_share", "adversarial_bound"),
    Rule("checkpoints", "checkpoint_every"),
    Rule("picture_epochs", "tensorboard"),
    Rule("augment_density", "augment", ("crop", "crop_flip")),
    Rule("epochs", "steps", (0,)),
    Rule("jump_stddev", "num_jumps"),
]
#: Of the networks of `train-vera` and `train-langevin`; `auto` is the mlp or not.
NETWORK = [
    Rule("layer pixels mirrored_views", "backbone"),
    Rule(
        "network hidden activation base_stddev filters depth width normalization "
        "spectral_norm attention dropout initial_gain pixel_range precision "
        "standardise transform categories drop_constant",
        "init",
        ("",),
    ),
    Rule("hidden base_stddev initial_gain", "network", ("auto", "mlp")),
    Rule("depth width", "network", ("wide_resnet",)),
    Rule("normalization", "network", ("wide_resnet", "dcgan")),
    Rule("filters", "network", ("strided", "resnet", "dcgan", *IGEBM)),
    Rule("spectral_norm", "network", tuple(IGEBM)),
    Rule("attention", "network", tuple(name for name in IGEBM if "resnet" in name)),
]
SAMPLING = [
    *(Rule(flags, "entropy", (name,)) for name, flags in _ESTIMATOR_FLAGS.items()),
    Rule(
        "posterior_learning_rate",
        "entropy",
        tuple(name for name, one in estimators_offered().items() if one.learns),
    ),
    Rule("volume_iterations", "volume_method", ("auto", "iterative")),
    Rule("entropy_weight", "entropy", tuple(estimators_offered())),
    Rule("minimum_share", "correction", ("auto", "weights", "resample")),
]
VERA = [
    *NETWORK,
    Rule("bank_rows", "bank"),
    *SAMPLING,
    Rule(f"{_GENERATOR} move_steps {_MOVES}", "negatives", ("auto", *with_generator())),
    Rule(f"move_steps {_MOVES}", "correction", _CORRECTIONS),
    Rule("buffer_size restart_share", "correction", ("chains",)),
    Rule(
        "generator_hidden generator_activation decoder_skip",
        "generator_network",
        ("mlp",),
    ),
    Rule("generator_filters", "generator_network", ("resnet", "dcgan")),
    Rule(
        "generator_normalization", "generator_network", ("large_mlp", "resnet", "dcgan")
    ),
]
CHAINS = [
    *NETWORK,
    Rule(
        "noise_stddev noise_first max_gradient clip keep_in_range temperature",
        "moves",
        ("langevin",),
    ),
    Rule("clip", "max_gradient"),
    Rule("num_leapfrog", "moves", ("hmc",)),
    Rule(
        "target_acceptance adaptation_rate num_jumps jump_stddev",
        "moves",
        ("mala", "hmc"),
    ),
    Rule(
        "buffer_size restart_share storage store_labels",
        "buffer",
        ("in_turn", "in_place", "ring", "reservoir"),
    ),
    Rule("store_labels watch_labels", "classes", ("conditional",)),
    Rule("start_stddev", "start", ("normal", "data")),
    Rule("start_mean", "start", ("normal",)),
    Rule("kl_through", "kl_weight"),
]
LIKELIHOOD = [
    *SAMPLING,
    Rule("num_couplings", "network", ("nice",)),
    Rule("num_components", "network", ("mixture",)),
    Rule("base_stddev", "network", ("mlp",)),
    Rule("hidden activation", "network", ("nice", "mlp")),
    Rule("noise_stddev", "method", ("denoising_score_matching", "noise_contrastive")),
    Rule("num_slices", "method", _SLICED),
    Rule(
        " ".join((_GENERATOR, *_ESTIMATOR_FLAGS.values())),
        "method",
        ("vera",),
    ),
    Rule(
        f"gradient_penalty move_steps {_MOVES} num_jumps jump_stddev buffer_size "
        "restart_share",
        "method",
        ("persistent_chains", "vera"),
    ),
]
ATTACK = [
    Rule("refine_radius refine_step_size refine_noise", "refine_steps"),
    Rule("evade_weights", "target_fpr"),
]
EVALUATE = [
    _taken_by("target", "dataset"),
    Rule("sample_noise feature_extractor reference reference_split", "samples"),
    Rule("resamples", "ood"),
]
#: Of the same program, where no score is chosen either.
EVALUATE_SCORES = [Rule("scores", "ood")]
#: Of the same program, where runs are compared.
COMPARE = [_taken_by("target", "dataset"), *EVALUATE_SCORES]
SAMPLE = [
    Rule("noise_stddev", "step_size"),
    _taken_by("skip_broken_images", "from"),
]
EXPORT = [
    _taken_by("target", "calibration"),
    _taken_by("skip_broken_images", "calibration"),
]
PREDICT = [
    Rule("optional_columns", "dataset", ("csv", "parquet")),
    Rule("pipeline_options", "runner"),
    _taken_by("skip_broken_images", "dataset"),
]


def check(rules: list[Rule], open_flags: Collection[str] = ()) -> None:
    """Refuses flags that were passed and can have no effect.

    Call it when presets and methods have given flags their values.

    Args:
        rules: `Rule`s; those of flags that the program lacks are left out.
        open_flags: names of flags whose values are not settled, as a search's.

    Raises:
        app.UsageError: at the first flag that another one leaves without effect.
    """
    for flags, needs, among in rules:
        if needs not in FLAGS or needs in open_flags:
            continue
        value = FLAGS[needs].value
        if needs in ("dataset", "calibration", "from"):
            value = data.parse_spec(value or "").source
        if value in among or (not among and value):
            continue
        for name in flags.split():
            if name in flag_errors.GIVEN and name in FLAGS:
                raise app.UsageError(_refusal(name, needs, value, among))


def check_without(flag: str, names: Collection[str]) -> None:
    """Refuses flags that were passed beside one that leaves them without effect.

    Raises:
        app.UsageError: at the first of them.
    """
    for name in names:
        if name in flag_errors.GIVEN:
            raise app.UsageError(
                f"--{name} has no effect with --{flag}. Received: "
                f"--{name}={str(FLAGS[name].value)[:200]}; leave one of them out."
            )


def check_unused(settings_class) -> None:
    """Refuses flags that were passed and that the program has no use for.

    Raises:
        app.UsageError: at the first flag of `settings_class.UNUSED`.
    """
    for name in getattr(settings_class, "UNUSED", ()):
        if name in flag_errors.GIVEN:
            raise app.UsageError(
                f"--{name} has no effect in this program, which has no part that it is "
                f"of. Received: --{name}={FLAGS[name].value}; leave it out."
            )


def _refusal(name: str, needs: str, value, among: tuple) -> str:
    rule = f"one of {listed(map(repr, among))}" if len(among) > 1 else "set"
    rule = f"{among[0]!r}" if len(among) == 1 else rule
    return (
        f"--{name} has no effect unless --{needs} is {rule}. Received: "
        f"--{name}={str(FLAGS[name].value)[:200]} with --{needs}={value}; leave "
        f"--{name} out, or change --{needs}."
    )
