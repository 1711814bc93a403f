"""Settings by name: each preset is a whole recipe, any flag of which can be changed.

Tags: [C] read in the published code, [F] in a published figure, [?] unknown and
chosen here; "tried" means chosen here on seeds that are not reported.
"""

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
PCD_2D = {
    "toy_rows": 396_000,
    "method": "persistent_chains",
    "steps": 4_988,
    "validate_every": 1_247,
    "batch_size": 200,
    "network": "mlp",
    "standardise": False,
    "hidden": ("128", "128", "128"),
    "base_stddev": 4.0,
    "buffer_size": 1_000,
    "restart_share": 0.0,
    "gradient_penalty": 0.002,
    "move_steps": 10,
    "learning_rate": 2e-3,
    "beta_1": 0.9,
    "beta_2": 0.99,
    "schedule": "cosine",
}

VERA_PRESETS = {"vera_2d": VERA_2D, "vera_toy": VERA_TOY}

#: NICE on MNIST (`--dataset=tfds:mnist`): the network and passes of the published
#: comparison [C], the sampler as tried on a network an eighth as wide.
VERA_NICE = {
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
    "move_step_size": 0.05,
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

LIKELIHOOD_PRESETS = {"pcd_2d": PCD_2D, "vera_nice": VERA_NICE}


def with_preset(preset: dict, settings_class, **changes):
    """A settings dataclass with the values of a preset, then of `changes`."""
    names = settings_class.__dataclass_fields__
    return settings_class(
        **{**{k: v for k, v in preset.items() if k in names}, **changes}
    )
