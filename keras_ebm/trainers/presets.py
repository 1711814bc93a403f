"""Settings by name: each preset is a whole recipe, any flag of which can be changed.

Tags: [C] read in the published code, [F] in a published figure, [S] in another
source, [M] remembered and not checked, [?] unknown and chosen here; "tried" means
chosen here on seeds that are not reported.
"""

from keras_ebm.trainers.settings.image_presets import (
    IGEBM_CIFAR10,
    IGEBM_CIFAR10_CONDITIONAL,
    IGEBM_DSPRITES,
    IGEBM_IMAGENET32,
    IGEBM_IMAGENET128,
    IGEBM_MNIST,
    JEM_CIFAR10,
    VERA_CIFAR10,
    VERA_CIFAR100,
    VERA_STACKED_MNIST,
)

#: The plane: log-volume entropy, corrected negatives, no penalty. All tried.
VERA_2D = {
    # 249,480 training points, four times: 4,988 steps.
    "toy_rows": 396_000,
    "epochs": 4,
    "batch_size": 200,
    "objective": "contrastive",
    "standardise": False,
    "hidden": ("128", "128", "128"),
    "base_stddev": 4.0,
    "gradient_penalty": 0.0,
    "latent_dim": 2,
    "generator_hidden": ("128", "128", "128"),
    "decoder_skip": 2.0,
    "entropy": "log_volume",
    "fold_weight": 3.0,
    "correction": "resample",
    "move_steps": 3,
    "learning_rate": 2e-3,
    "generator_learning_rate": 1e-3,
    "beta_1": 0.9,
    "generator_beta_1": 0.9,
    "beta_2": 0.99,
    "schedule": "cosine",
    "tensorboard": False,
}

#: The plane as in the published code, with 4,988 steps as above.
VERA_TOY = {
    "toy_rows": 396_000,
    "epochs": 4,  # [?]
    "batch_size": 200,  # [C]
    "objective": "contrastive",  # [C]
    "standardise": False,  # [C]
    "hidden": ("100", "100"),  # [C]
    "activation": "leaky_relu",  # [C], slope 0.2
    "gradient_penalty": 0.1,  # [?]: 0.1 in the CIFAR command [C], 0 by default [C]
    "latent_dim": 2,  # [C]
    "generator_hidden": ("100", "100"),  # [C]; batch normalisation left out
    "generator_activation": "relu",  # [C]
    "initial_stddev": 0.01,  # [C]
    "min_stddev": 0.01,  # [C]
    "max_stddev": 0.3,  # [C]
    "entropy": "importance",  # [C]
    "importance_samples": 20,  # [C]
    "entropy_weight": 1.0,  # [F] the one of three whose density matches
    "correction": "none",  # [C]
    "learning_rate": 1e-3,  # [C]
    "generator_learning_rate": 1e-3,  # [C]
    "posterior_learning_rate": 0.02,  # [C]
    "beta_1": 0.0,  # [C]
    "generator_beta_1": 0.0,  # [C]
    "beta_2": 0.9,  # [C]
    "schedule": "constant",  # [?]
    "tensorboard": False,
}

#: The plane by persistent chains: the same network and steps. All tried.
PCD = {
    "toy_rows": 396_000,
    "epochs": 4,
    "batch_size": 200,
    "standardise": False,
    "network": "mlp",
    "hidden": ("128", "128", "128"),
    "base_stddev": 4.0,
    "moves": "mala",
    "num_steps": 5,
    "step_size": 0.01,
    "num_jumps": 1,
    "jump_stddev": 2.5,
    "buffer": "in_turn",
    "buffer_size": 200,
    "restart_share": 0.0,
    "start": "normal",
    "learning_rate": 2e-3,
    "beta_1": 0.9,
    "beta_2": 0.99,
    "schedule": "cosine",
    "tensorboard": False,
}

#: Every chain from noise: the same, but for many more steps a chain. Tried little.
SHORT_RUN = {
    "moves": "langevin",
    "num_steps": 100,  # [S] Nijkamp et al. (2019)
    "step_size": 1.0,
    "noise_stddev": 0.01,
    "buffer": "none",
    "start": "uniform",  # [S]
    "learning_rate": 1e-4,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "schedule": "constant",
    "data_stddev": 0.03,  # [S]
}

#: NICE on MNIST: the network and passes of the published
#: comparison [C], the sampler as tried on a network an eighth as wide.
VERA_NICE = {
    "dataset": "tfds:mnist",
    "method": "vera",
    "network": "nice",
    "hidden": ("1000", "1000", "1000", "1000"),  # [C]
    "batch_size": 100,  # [?]
    "steps": 54_000,  # [?]: 100 passes
    "validate_every": 540,
    "latent_dim": 100,  # [?]
    "generator_hidden": ("256",),
    "stddev_per_entry": True,
    "initial_stddev": 0.95,
    "max_stddev": 1.5,
    "entropy": "log_volume",
    "entropy_weight": 1.0,  # [?]: 1 for a likelihood
    "correction": "chains",
    "restart_share": 0.005,
    "buffer_size": 100,
    "move_steps": 1,
    "move_leapfrog": 10,
    "initial_step_size": 0.05,
    "move_acceptance": 0.8,
    "move_adaptation": 0.2,
    "gradient_penalty": 0.03,
    "learning_rate": 1e-3,
    "generator_learning_rate": 1e-3,
    "beta_1": 0.9,
    "generator_beta_1": 0.5,
    "beta_2": 0.999,
    "schedule": "cosine",
}

#: What energies of tables with few labels share. The recipe of a prototype; tried.
_TABULAR = {
    "hidden": ("256", "256", "256"),
    "dropout": 0.3,
    "initial_gain": 1 / 3,
    "transform": "auto",
    "objective": "contrastive",
    "energy_weight": 0.1,
    "gradient_penalty": 0.1,
    "ramp_steps": 100,
    "batch_size": 128,
    "steps": 2400,
    "validate_every": 100,
    "keep_best": True,
    "learning_rate": 1e-3,
    "beta_1": 0.5,
    "beta_2": 0.99,
    "weight_decay": 1e-4,
    "ema_momentum": 0.99,
    "schedule": "constant",
    "tensorboard": False,
}

TABULAR = {
    **_TABULAR,
    "class_shares": "counted",
    "latent_dim": 0,
    "generator_hidden": ("128", "128"),
    "entropy": "log_volume",
    "volume_method": "iterative",
    "volume_iterations": 5,
    "entropy_weight": 1.0,
    "correction": "none",
    "generator_learning_rate": 1e-3,
    "generator_beta_1": 0.5,
}

#: The same by chains. Tried little.
TABULAR_CHAINS = {
    **_TABULAR,
    "num_steps": 20,
    "step_size": 0.1,
    "noise_stddev": 0.05,
    "start": "normal",
    "buffer": "in_place",
    "buffer_size": 10_000,
    "restart_share": 0.05,
}

#: Trajectories of IGEBM: not in the published code. Its episodes (a trained policy with
#: every fourth action random) were never published; random ones stand for them.
IGEBM_HAND = {
    "episodes": "hand:block",  # [?]
    "num_episodes": 200_000,  # [M]
    "num_steps": 100,  # [M]
    "test_share": 0.1,  # [M]
    "method": "chains",  # [M]
    "past": 1,  # [M]
    "hidden": ("128", "128", "128"),  # [M]
    "chain_steps": 10,  # [M]
    "step_size": 0.05,  # [?]
    "noise_stddev": 0.1,  # [?]
    "start_stddev": 0.7,  # [?]
    "max_gradient": 3.0,  # [?]
    "energy_l2": 1.0,  # [?]
    "epochs": 1,  # [?]
    "batch_size": 512,  # [?]
}

VERA_PRESETS = {
    "tabular": TABULAR,
    "vera_2d": VERA_2D,
    "vera_toy": VERA_TOY,
    "vera_cifar10": VERA_CIFAR10,
    "vera_cifar100": VERA_CIFAR100,
    "vera_stacked_mnist": VERA_STACKED_MNIST,
}
LANGEVIN_PRESETS = {
    "tabular": TABULAR_CHAINS,
    "pcd": PCD,
    "short_run": SHORT_RUN,
    "igebm_cifar10": IGEBM_CIFAR10,
    "igebm_cifar10_conditional": IGEBM_CIFAR10_CONDITIONAL,
    "igebm_imagenet32": IGEBM_IMAGENET32,
    "igebm_imagenet128": IGEBM_IMAGENET128,
    "igebm_dsprites": IGEBM_DSPRITES,
    "igebm_mnist": IGEBM_MNIST,
    "jem_cifar10": JEM_CIFAR10,
}
LIKELIHOOD_PRESETS = {"vera_nice": VERA_NICE}
ROLLOUT_PRESETS = {"igebm_hand": IGEBM_HAND}


def with_preset(preset: dict, settings_class, **changes):
    """A settings dataclass with the values of a preset, then of `changes`."""
    names = settings_class.__dataclass_fields__
    return settings_class(
        **{**{k: v for k, v in preset.items() if k in names}, **changes}
    )
