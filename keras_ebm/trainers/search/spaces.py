"""What `keras-ebm tune` searches over: ranges of the trainers' flags, by kind of data.

Each range lies around the value of the preset of its family, `tabular`, `vera_2d` and
`pcd`, or around the flag's default for images.
"""

import dataclasses

from keras_ebm.trainers.settings.negatives import with_generator

#: Flags of which a search sets two parts: the width of a layer, and how many there are.
LAYERS = {
    "hidden": ("hidden_width", "hidden_depth"),
    "generator_hidden": ("generator_width", "generator_depth"),
}
_FLAG_OF_PART = {part: flag for flag, parts in LAYERS.items() for part in parts}


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A flag of the trainers, or a part of one, and the values that it may take.

    Attributes:
        name: of the flag; `hidden_width` and `hidden_depth` make `--hidden` together,
            and `generator_width` and `generator_depth` `--generator_hidden`.
        scale: `"linear"`, `"log"` or `"choice"`.
        ends: the smallest and the largest value of a range; ints for a whole number.
        values: those of a choice.
        methods: parts of a `--method` such as `vera+vat`, one of which it takes to
            have an effect; (): it always has.
        where: dict of another flag to its values under which this one has an effect.
        limit: what bounds the values from above, `"batch_size"` (training rows, and
            chains in a buffer) or `"features"` (inputs of the network), or "".
    """

    name: str
    scale: str
    ends: tuple = ()
    values: tuple = ()
    methods: tuple = ()
    where: dict = dataclasses.field(default_factory=dict)
    limit: str = ""

    @property
    def flag(self) -> str:
        """The flag that it sets, alone or with another."""
        return _FLAG_OF_PART.get(self.name, self.name)


def _log(name, low, high, **when):
    return Parameter(name, "log", (low, high), **when)


def _linear(name, low, high, **when):
    return Parameter(name, "linear", (low, high), **when)


def _choice(name, *values, **when):
    return Parameter(name, "choice", values=values, **when)


_MLP = {"where": {"network": ("mlp",)}}
_DROPOUT = {"where": {"network": ("mlp", "wide_resnet")}}
#: Where there are negatives, so an energy.
_ENERGY = {"methods": ("vera", "chains")}
_PENALTY = {"methods": ("vera", "chains", "gradient_penalty")}


def _vera(**where):
    """Where there is a generator, and other flags have these values."""
    return {
        "methods": ("vera",),
        "where": {"negatives": ("auto", *with_generator()), **where},
    }


_VERA = _vera()
_DECODER = _vera(generator_network=("mlp",))
_CHAINS = {"methods": ("chains",)}
_LANGEVIN = {**_CHAINS, "where": {"moves": ("langevin",)}}
_BUFFER = {**_CHAINS, "where": {"buffer": ("in_place", "in_turn", "ring", "reservoir")}}

#: Of the terms on rows without labels.
_UNLABELLED = (
    _log("conditional_entropy_weight", 0.01, 1.0, methods=("entropy",)),
    _log("pseudo_label_weight", 0.1, 10.0, methods=("pseudo_label",)),
    _linear("pseudo_label_threshold", 0.8, 0.99, methods=("pseudo_label",)),
    _log("virtual_adversarial_weight", 0.03, 3.0, methods=("vat",)),
    _log("adversarial_radius", 0.01, 1.0, methods=("vat",)),
)

_GENERATOR = (
    _choice("latent_dim", 2, 4, 8, 16, 32, limit="features", **_VERA),
    _choice("generator_width", 64, 128, 256, **_DECODER),
    _linear("generator_depth", 1, 3, **_DECODER),
    _log("generator_learning_rate", 1e-4, 1e-2, **_VERA),
)

TABLES = (
    _choice("transform", "standardise", "quantile"),
    _choice("hidden_width", 64, 128, 256, 512, **_MLP),
    _linear("hidden_depth", 1, 4, **_MLP),
    _linear("dropout", 0.0, 0.6, **_DROPOUT),
    _log("initial_gain", 0.1, 1.0, **_MLP),
    _choice("batch_size", 32, 64, 128, 256, limit="batch_size"),
    _log("learning_rate", 1e-4, 1e-2),
    _log("weight_decay", 1e-6, 1e-2),
    _log("energy_weight", 1e-3, 1.0, **_ENERGY),
    _log("gradient_penalty", 1e-3, 1.0, **_PENALTY),
    _log("entropy_weight", 0.01, 10.0, **_VERA),
    *_GENERATOR,
    _log("num_steps", 5, 60, **_CHAINS),
    _log("step_size", 0.01, 1.0, **_LANGEVIN),
    _log("noise_stddev", 5e-3, 0.2, **_LANGEVIN),
    _log("restart_share", 0.01, 0.3, **_BUFFER),
    *_UNLABELLED,
)

IMAGES = (
    _choice("hidden_width", 128, 256, 512, **_MLP),
    _linear("hidden_depth", 1, 3, **_MLP),
    _linear("dropout", 0.0, 0.5, **_DROPOUT),
    _choice("augment", "none", "crop"),
    _log("data_stddev", 3e-3, 0.1),
    _choice("batch_size", 32, 64, 128, limit="batch_size"),
    _log("learning_rate", 1e-4, 5e-3),
    _choice("objective", "logistic", "contrastive", methods=("vera",)),
    _log("energy_weight", 1e-3, 1.0, **_ENERGY),
    _log("gradient_penalty", 1e-3, 1.0, **_PENALTY),
    _log("entropy_weight", 1e-4, 1.0, **_VERA),
    *_GENERATOR,
    _log("num_steps", 10, 60, **_CHAINS),
    _log("step_size", 0.1, 10.0, **_LANGEVIN),
    _log("noise_stddev", 3e-3, 0.03, **_LANGEVIN),
    _log("restart_share", 0.01, 0.3, **_BUFFER),
    *_UNLABELLED,
)

#: Points of the plane, whose likelihood is what counts: the weight of the entropy
#: stays 1, as it is for any other that the energies are not of a likelihood.
DENSITY = (
    _choice("hidden_width", 64, 128, 256, **_MLP),
    _linear("hidden_depth", 2, 4, **_MLP),
    _log("base_stddev", 1.0, 8.0, **_MLP),
    _choice("batch_size", 100, 200, 400, limit="batch_size"),
    _log("learning_rate", 3e-4, 1e-2),
    _choice("generator_width", 64, 128, 256, **_DECODER),
    _linear("generator_depth", 2, 4, **_DECODER),
    _log("generator_learning_rate", 3e-4, 1e-2, **_VERA),
    _log("fold_weight", 0.3, 10.0, **_vera(entropy=("log_volume",))),
    _linear("move_steps", 1, 6, **_vera(correction=("resample", "latent"))),
    _log("num_steps", 2, 30, **_CHAINS),
    _log("step_size", 1e-3, 0.1, **_CHAINS),
    _log("jump_stddev", 0.5, 5.0, **_CHAINS, where={"moves": ("mala", "hmc")}),
)

FAMILIES = {"tables": TABLES, "images": IMAGES, "density": DENSITY}


def family_of(dataset) -> str:
    """The family of a `keras_ebm.data.Dataset`."""
    if dataset.kind == "image":
        return "images"
    return "tables" if dataset.num_classes > 1 else "density"


def space_of(family: str, method: str, flags: dict, limits: dict, fixed=()) -> tuple:
    """The parameters that have an effect in a search.

    Args:
        family: key of `FAMILIES`.
        method: a `--method`, such as `"vera+vat"`.
        flags: dict of the values of all other flags, which `where` asks for.
        limits: dict of the ints that a `limit` names.
        fixed: names of flags that are left as they are.

    Returns:
        Tuple of `Parameter`, without the values that break a limit; where one value
        at most is left there is nothing to search.
    """
    parts = set(method.split("+"))
    space = []
    for parameter in FAMILIES[family]:
        active = not parameter.methods or parts & set(parameter.methods)
        if parameter.flag in fixed or not active:
            continue
        if any(flags[name] not in ok for name, ok in parameter.where.items()):
            continue
        if parameter.limit:
            most = limits[parameter.limit]
            values = tuple(value for value in parameter.values if value <= most)
            parameter = dataclasses.replace(parameter, values=values)
        if parameter.ends or len(parameter.values) > 1:
            space.append(parameter)
    return tuple(space)


def declare(hp, space) -> None:
    """Declares a space to keras-tuner.

    Args:
        hp: `keras_tuner.HyperParameters`.
        space: parameters, see `space_of`.
    """
    for parameter in space:
        if parameter.scale == "choice":
            hp.Choice(parameter.name, list(parameter.values))
            continue
        whole = all(isinstance(end, int) for end in parameter.ends)
        add = hp.Int if whole else hp.Float
        add(parameter.name, *parameter.ends, sampling=parameter.scale)


def flags_of(values: dict) -> dict:
    """The flags that a trial's values stand for.

    Args:
        values: dict of values by the name of a `Parameter`; keras-tuner's own, whose
            names begin with `tuner/`, are left out.
    """
    flags = {k: v for k, v in values.items() if not k.startswith("tuner/")}
    for flag, (width, depth) in LAYERS.items():
        if width in flags:
            flags[flag] = (str(flags.pop(width)),) * flags.pop(depth)
    return flags
