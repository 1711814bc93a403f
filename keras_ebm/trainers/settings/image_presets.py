"""Recipes for images, by name; `trainers.presets` says what their tags mean."""

#: What IGEBM's models share.
_IGEBM = {
    "pixel_range": "unit",  # [C]
    "dequantise": True,  # [C]; 1/512 wide on either side for all sets
    "spectral_norm": True,  # [C] in every published command
    "moves": "langevin",
    "noise_stddev": 0.005,  # [C]
    "noise_first": True,  # [C]
    "start": "uniform",  # [C]
    "buffer": "ring",  # [C]
    "buffer_size": 10_000,  # [C]
    "restart_share": 0.05,  # [C]
    "storage": "uint8",  # [C]
    "store_labels": False,  # [C]
    "objective": "contrastive",  # [C] "cd", without the KL term
    "energy_l2": 1.0,  # [C]
    "optimizer": "clipped_adam",  # [C]
    "learning_rate": 3e-4,  # [C]; the paper has 1e-4 [M]
    "beta_1": 0.0,  # [C]
    "beta_2": 0.999,  # [C]
    "schedule": "constant",  # [C]
    "checkpoint_every": 300,  # [C], for ensembles of ten
}

IGEBM_CIFAR10 = {
    **_IGEBM,
    "dataset": "tfds:cifar10",
    "classes": "none",
    "network": "igebm_resnet32_large",  # [C]
    "activation": "leaky_relu",  # [C]
    "dropout": 0.5,  # [C] in training; here the chains go without
    "num_steps": 60,  # [C]
    "step_size": 10.0,  # [C]
    "max_gradient": 0.01,  # [C]
    "batch_size": 128,  # [C]
    "epochs": 310,  # 121,200 steps of 128 [C]
}

IGEBM_CIFAR10_CONDITIONAL = {
    **IGEBM_CIFAR10,
    "classes": "conditional",
    "network": "igebm_resnet32",  # [C]
    "dropout": 0.0,  # [C]
    "epochs": 192,  # 74,700 steps of 128 [C]
}

IGEBM_IMAGENET32 = {
    **IGEBM_CIFAR10_CONDITIONAL,
    "dataset": "tfds:imagenet_resized/32x32",
    "network": "igebm_resnet32_wider",  # [C]
    "filters": 256,  # [C]
    "batch_size": 32,  # [C] a worker, of 32 workers [M]
    "epochs": 1,  # [?]
}

IGEBM_IMAGENET128 = {
    **IGEBM_IMAGENET32,
    "dataset": "tfds:imagenet2012@128",
    "network": "igebm_resnet128",  # [C]
    "filters": 64,  # [C]
    "activation": "silu",  # [C]
    "num_steps": 50,  # [C]
    "step_size": 100.0,  # [C]
    "max_gradient": 0.0,  # [C]
    "batch_size": 16,  # [C] a worker
    "epochs": 28,  # 2,238,000 steps of 16 [C]
}

IGEBM_DSPRITES = {
    **_IGEBM,
    "dataset": "tfds:dsprites#label_shape",
    "classes": "conditional",  # [C]; of shapes
    "network": "igebm_dsprites",  # [C]
    "activation": "silu",  # [C]
    "dequantise": False,  # [C] binary images
    "start": "normal",  # [C]
    "start_mean": 0.5,  # [C]
    "start_stddev": 0.5,  # [C]
    "num_steps": 20,  # [C]
    "step_size": 500.0,  # [C]
    "batch_size": 256,  # [C]
    "epochs": 166,  # 477,000 steps of 256 for shapes [C]
}

IGEBM_MNIST = {
    **_IGEBM,
    "dataset": "tfds:mnist",
    "classes": "none",
    "network": "igebm_mnist",  # [C]
    "activation": "leaky_relu",  # [C]
    "num_steps": 20,  # [C] the flag's default
    "step_size": 10.0,  # [?]
    "max_gradient": 0.01,  # [?]
    "batch_size": 256,  # [C]
    "epochs": 256,  # 60,000 steps [C]
}

JEM_CIFAR10 = {
    "dataset": "tfds:cifar10",
    "classes": "joint",
    "network": "wide_resnet",  # [C]
    "depth": 28,  # [C]
    "width": 10,  # [C]
    "activation": "leaky_relu",  # [C]
    "moves": "langevin",
    "num_steps": 20,  # [C]
    "step_size": 1.0,  # [C]
    "noise_stddev": 0.01,  # [C]
    "keep_in_range": False,  # [C]
    "start": "uniform",  # [C]
    "buffer": "in_place",  # [C]
    "buffer_size": 10_000,  # [C]
    "restart_share": 0.05,  # [C]
    "data_stddev": 0.03,  # [C]
    "augment": "crop_flip",  # [C]
    "batch_size": 64,  # [C]
    "epochs": 200,  # [C]; 150 in the paper [M]
    "learning_rate": 1e-4,  # [C]
    "beta_1": 0.9,  # [C]
    "beta_2": 0.999,  # [C]
    "schedule": "steps",  # [C]
    "decay_epochs": ("160", "180"),  # [C]
    "decay_rate": 0.3,  # [C]
    "warmup_steps": 1000,  # [M]
}

VERA_CIFAR10 = {
    "dataset": "tfds:cifar10",
    "network": "wide_resnet",  # [C]
    "depth": 28,  # [C]
    "width": 10,  # [C]
    "activation": "leaky_relu",  # [C]
    "dropout": 0.3,  # [C]
    "objective": "contrastive",  # [C]
    "energy_weight": 1.0,  # [C]
    "classification_weight": 100.0,  # [C]
    "gradient_penalty": 0.1,  # [C]
    "generator_network": "resnet",  # [C]; normalisation of its own, not of batches
    "generator_filters": 256,  # [C]
    "latent_dim": 128,  # [C]
    "initial_stddev": 0.01,  # [C]
    "min_stddev": 0.01,  # [C]
    "max_stddev": 0.3,  # [C]
    "entropy": "importance",  # [C]
    "importance_samples": 20,  # [C]
    "entropy_weight": 1e-4,  # [C]
    "correction": "none",  # [C]
    "augment": "crop_flip",  # [C]
    "batch_size": 40,  # [C]
    "epochs": 200,  # [C]
    "learning_rate": 3e-5,  # [C]
    "generator_learning_rate": 6e-5,  # [C]
    "posterior_learning_rate": 3e-5,  # [C]
    "beta_1": 0.0,  # [C]
    "generator_beta_1": 0.0,  # [C]
    "beta_2": 0.9,  # [C]
    "schedule": "steps",  # [C]
    "decay_epochs": ("150", "175"),  # [C]
    "decay_rate": 0.3,  # [C]
    "warmup_steps": 2500,  # [C]
}

VERA_CIFAR100 = {
    **VERA_CIFAR10,
    "dataset": "tfds:cifar100",
    "dropout": 0.4,  # [?]: what the evaluation builds for other sets than CIFAR-10
}

#: Learning rates and weights of the published run are not known.
VERA_STACKED_MNIST = {
    "dataset": "stacked:mnist@64",  # [C]
    "toy_rows": 60_000,  # [C]
    "network": "dcgan",  # [C]
    "activation": "leaky_relu",  # [C]
    "objective": "contrastive",  # [C]
    "gradient_penalty": 0.1,  # [?]
    "generator_network": "dcgan",  # [C]; normalisation of its own, not of batches
    "latent_dim": 100,  # [C]
    "initial_stddev": 0.01,  # [C]
    "min_stddev": 0.01,  # [C]
    "max_stddev": 0.3,  # [C]
    "entropy": "importance",  # [C]
    "entropy_weight": 1e-4,  # [?]
    "correction": "none",  # [C]
    "batch_size": 100,  # [?]
    "epochs": 200,  # [?]
    "learning_rate": 1e-3,  # [C] the default
    "generator_learning_rate": 1e-3,  # [C] the default
    "beta_1": 0.0,  # [C]
    "generator_beta_1": 0.0,  # [C]
    "beta_2": 0.9,  # [C]
    "schedule": "constant",
}
