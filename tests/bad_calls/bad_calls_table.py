"""The bad calls of the programs: flag, values that it may not have."""

WHOLE = ("1.5", "many", "", "99999999999999999999")
NUMBER = ("nan", "inf", "-inf", "much", "")
SIZES = ("0", "-3", *WHOLE)
COUNTS = ("-3", *WHOLE)
POSITIVE = ("0", "-1", *NUMBER)
WEIGHTS = ("-1", *NUMBER)
RATIOS = ("-0.1", "1", "1.5", *NUMBER)
SHARES = ("-0.1", "1.5", *NUMBER)
WORDS = ("nonsense", "")

DATA = {
    "labels_per_class": COUNTS,
    "train_size": COUNTS,
    "toy_rows": SIZES,
    "seed": COUNTS,
    "skip_broken_images": ("perhaps",),
}
OPTIMIZER = {
    "learning_rate": POSITIVE,
    "beta_1": RATIOS,
    "beta_2": ("0", *RATIOS),
    "weight_decay": RATIOS,
    "decay_rate": ("0", "-1", "nan"),
    "warmup_steps": COUNTS,
    "ema_momentum": RATIOS,
    "schedule": WORDS,
    "optimizer": WORDS,
    "jit_compile": ("perhaps",),
}
SAMPLING = {
    "generator_learning_rate": POSITIVE,
    "posterior_learning_rate": POSITIVE,
    "generator_beta_1": RATIOS,
    "latent_dim": COUNTS,
    "initial_stddev": ("0", "-1", "nan"),
    "min_stddev": ("0", "-1", "nan"),
    "max_stddev": ("0", "-1", "inf"),
    "entropy": WORDS,
    "entropy_weight": WEIGHTS,
    "importance_samples": SIZES,
    "widening": POSITIVE,
    "volume_method": WORDS,
    "volume_iterations": SIZES,
    "fold_weight": WEIGHTS,
    "hmc_samples": SIZES,
    "correction": WORDS,
    "move_steps": SIZES,
    "move_leapfrog": SIZES,
    "initial_step_size": POSITIVE,
    "move_acceptance": ("0", *RATIOS),
    "move_adaptation": POSITIVE,
    "restart_share": SHARES,
    "minimum_share": RATIOS,
}
TERMS = {
    "conditional_entropy_weight": WEIGHTS,
    "pseudo_label_weight": WEIGHTS,
    "pseudo_label_threshold": SHARES,
    "virtual_adversarial_weight": WEIGHTS,
    "adversarial_radius": POSITIVE,
    "adversarial_bound": WEIGHTS,
    "adversarial_norm": WORDS,
    "adversarial_steps": SIZES,
    "adversarial_share": ("0", "1.5", *NUMBER),
    "ramp_steps": COUNTS,
}
NETWORK = {
    "dropout": RATIOS,
    "initial_gain": POSITIVE,
    "base_stddev": WEIGHTS,
    "filters": COUNTS,
    "depth": SIZES,
    "width": SIZES,
    "network": WORDS,
}
FIT = {
    "epochs": SIZES,
    "steps": COUNTS,
    "plain_epochs": COUNTS,
    "batch_size": SIZES,
    "validate_every": COUNTS,
    "picture_epochs": SIZES,
    "checkpoint_every": COUNTS,
    "checkpoints": SIZES,
    "energy_limit": POSITIVE,
    "verbose": ("-1", "3", "1.5"),
    "strategy": WORDS,
    "augment": WORDS,
    "doctor": WORDS,
    "preset": ("nonsense",),
    "method": ("nonsense",),
    "keep_best": ("perhaps",),
}
CHAINS = {
    "num_steps": COUNTS,
    "step_size": POSITIVE,
    "noise_stddev": NUMBER,
    "max_gradient": WEIGHTS,
    "temperature": POSITIVE,
    "num_leapfrog": SIZES,
    "target_acceptance": ("0", *RATIOS),
    "adaptation_rate": POSITIVE,
    "num_jumps": COUNTS,
    "jump_stddev": POSITIVE,
    "start_stddev": WEIGHTS,
    "start_mean": NUMBER,
    "buffer_size": SIZES,
    "restart_share": SHARES,
    "energy_weight": WEIGHTS,
    "classification_weight": WEIGHTS,
    "energy_l2": WEIGHTS,
    "gradient_penalty": WEIGHTS,
    "kl_weight": WEIGHTS,
    "neighbour_weight": WEIGHTS,
    "data_stddev": WEIGHTS,
    "moves": WORDS,
    "buffer": WORDS,
    "objective": WORDS,
}
DENSITY = {
    "method": WORDS,
    "num_couplings": SIZES,
    "num_components": SIZES,
    "noise_stddev": POSITIVE,
    "num_slices": SIZES,
    "steps": SIZES,
    "validate_every": SIZES,
    "verbose": ("-1", "3"),
}
#: By program: the flags of an ordinary call, and the flags that are then spoiled.
PROGRAMS = {
    "trainers.vera": (
        ("--dataset=digits", "--workdir={}/run"),
        {**DATA, **OPTIMIZER, **SAMPLING, **TERMS, **NETWORK, **FIT},
    ),
    "trainers.langevin": (("--dataset=digits", "--workdir={}/run"), CHAINS),
    "trainers.likelihood": (("--dataset=toy:rings", "--workdir={}/run"), DENSITY),
    "trainers.tune": (
        ("--dataset=digits", "--workdir={}/run"),
        {
            "trials": SIZES,
            "steps": SIZES,
            "validate_every": SIZES,
            "batch_size": SIZES,
            "tuner": WORDS,
            "method": WORDS,
            "energy_limit": POSITIVE,
        },
    ),
    "trainers.adopt": (
        ("--network={}/model.keras", "--dataset=digits", "--workdir={}/run"),
        {"output": WORDS, "pixels": WORDS, "fresh": WORDS, "seed": COUNTS},
    ),
    "trainers.evaluate": (
        ("--model={}/model.keras", "--dataset=digits", "--output={}/new/out.json"),
        {
            "resamples": ("0", "1", *COUNTS),
            "samples": COUNTS,
            "seed": COUNTS,
            "reference_split": WORDS,
        },
    ),
    "trainers.sample": (
        ("--model={}/model.keras", "--output={}/new/out.png"),
        {
            "num": SIZES,
            "steps": ("-7", *WHOLE),
            "rounds": SIZES,
            "step_size": WEIGHTS,
            "noise_stddev": WEIGHTS,
            "label": ("-7", *WHOLE),
            "seed": COUNTS,
        },
    ),
    "trainers.attack": (
        ("--model={}/model.keras", "--output={}/new/out"),
        {
            "rows": SIZES,
            "norm": WORDS,
            "num_steps": SIZES,
            "step_size": WEIGHTS,
            "restarts": SIZES,
            "eot": SIZES,
            "queries": SIZES,
            "rows_at_a_time": SIZES,
            "refine_steps": COUNTS,
            "refine_radius": POSITIVE,
            "refine_step_size": POSITIVE,
            "refine_noise": WEIGHTS,
            "target_fpr": RATIOS,
            "seed": COUNTS,
            "preset": ("nonsense",),
            "dry_run": ("perhaps",),
        },
    ),
    "trainers.continual": (
        ("--dataset=digits", "--output={}/new"),
        {
            "classes_per_task": SIZES,
            "rows": COUNTS,
            "measured_on": WORDS,
            "epochs": SIZES,
            "batch_size": SIZES,
            "learning_rate": POSITIVE,
            "num_steps": SIZES,
            "step_size": POSITIVE,
            "noise_stddev": WEIGHTS,
            "restart_share": SHARES,
            "energy_l2": WEIGHTS,
            "average_from": RATIOS,
            "components": SIZES,
            "ridge": POSITIVE,
            "frequencies": SIZES,
            "ratio_epochs": SIZES,
            "random_features": SIZES,
            "seed": COUNTS,
            "preset": ("nonsense",),
            "dry_run": ("perhaps",),
        },
    ),
    "trainers.bounds": (
        ("--model={}/model.keras",),
        {"chains": ("1", "many"), "steps": SIZES, "starts": WORDS},
    ),
    "trainers.compose": (
        ("--output={}/new",),
        {
            "dataset": WORDS,
            "side": ("8", "many"),
            "fold": ("3",),
            "steps": SIZES,
            "max_gradient": ("0",),
            "walk_steps": ("0",),
            "preset": ("nonsense",),
        },
    ),
    "trainers.rollout": (
        ("--episodes=npz:{}/absent.npz", "--output={}/new/out"),
        {
            "num_episodes": ("3", "1.5"),
            "test_share": ("0", "1", "nan"),
            "method": WORDS,
            "preset": ("nonsense",),
            "past": ("0", "many"),
            "noise_stddev": ("-2", "inf"),
            "walk_steps": ("-1",),
        },
    ),
    "trainers.restore": (
        ("--dataset=digits", "--output={}/new"),
        {
            "rows": COUNTS,
            "test_rows": SIZES,
            "validation_rows": SIZES,
            "measured_on": WORDS,
            "chains": SIZES,
            "walk": WORDS,
            "energy": WORDS,
            "bottleneck": SIZES,
            "network": WORDS,
            "train_steps": SIZES,
            "batch_size": SIZES,
            "learning_rate": POSITIVE,
            "langevin_steps": SIZES,
            "step_size": POSITIVE,
            "noise_stddev": WEIGHTS,
            "max_gradient": POSITIVE,
            "seed": COUNTS,
            "preset": ("nonsense",),
            "dry_run": ("perhaps",),
        },
    ),
    "export.classifier": (
        ("--model={}/model.keras", "--calibration=digits", "--output={}/new/served"),
        {"target_fpr": ("0", "1", *RATIOS), "per_class": ("perhaps",)},
    ),
    "export.ood_scorer": (
        ("--model={}/model.keras", "--calibration=digits", "--output={}/new/served"),
        {"target_fpr": ("0", "-1", "nan"), "explain": ("perhaps",)},
    ),
    "export.predict": (
        ("--model={}/export", "--dataset=digits", "--output={}/new/out.csv"),
        {"target_fpr": ("-0.1", "1", "nan"), "batch_rate": ("-0.1", "1", "nan")},
    ),
    "export.monitor": (
        (
            "--calibration_rows=9",
            "--answers={}/header.csv",
            "--state={}/new/state.json",
        ),
        {
            "calibration_rows": ("-2", "a"),
            "level": ("0", "1", "nan"),
            "seed": ("-1", "4294967295"),
            "only_new": ("perhaps",),
        },
    ),
}
#: Arguments that are no flags with values, of any program; `{}` is a folder of files.
UNREADABLE = [
    (["--no_such_flag"], ["--no_such_flag", "flag of this program", "--help"]),
    (["--no_such_flag=3"], ["Received: --no_such_flag=3", "--help"]),
    (["--verbosty=1"], ["Received: --verbosty=1", "did you mean --verbosity"]),
    (["--verbosity=loud"], ["an integer", "--verbosity=loud", "default is -1"]),
    (["--alsologtostderr=maybe"], ["true or false", "--alsologtostderr=maybe"]),
    (["--noalsologtostderr=1"], ["must have no value", "--alsologtostderr=true"]),
    (
        ["--verbosity"],
        ["a value, an integer", "write --verbosity=VALUE"],
    ),
    (["--flagfile"], ["--flagfile must have a value"]),
    (["--flagfile={}/absent"], ["--flagfile", "absent", "No such file"]),
    (["--flagfile={}"], ["--flagfile", "Is a directory"]),
    (["--flagfile={}/picture"], ["--flagfile", "no text"]),
    (["--flagfile={}/nested"], ["--flagfile", "absent", "No such file"]),
    (["epochs=3"], ["must be flags", "'epochs=3'", "--name=value"]),
    (["--flagfile={}/prose"], ["must be flags", "'Once", "and 979 more", "--help"]),
]


def calls(program: str, folder) -> list:
    """`(flags, words of the refusal)` of every bad call of a program.

    A refusal names the flag and the value that it was given.
    """
    ordinary, spoiled = PROGRAMS[program]
    usual = [flag.format(folder) for flag in ordinary]
    named = [
        ([*usual, f"--{name}={value}"], (name, value))
        for name, values in spoiled.items()
        for value in values
    ]
    return named + [
        ([*usual, *(flag.format(folder) for flag in flags)], words)
        for flags, words in UNREADABLE
    ]


#: Programs, and the flags that calls about files begin with.
PREDICT = ("export.predict", "--dataset=digits")
VERA = ("trainers.vera", "--workdir={0}/new/run")
EVALUATE = ("trainers.evaluate", "--model={0}/m.keras", "--dataset=digits")
SAMPLE = ("trainers.sample", "--model={0}/m.keras")
ROLLOUT = ("trainers.rollout", "--output={0}/new/out")
RESTORE = ("trainers.restore", "--dataset=digits", "--output={0}/new/out")
MONITOR = ("export.monitor", "--state={0}/new/state.json")
ANSWERS = ("--calibration_rows=9", "--answers={0}/gaps.csv")
CALLS = [
    (MONITOR, ["--calibration_rows=9"], ["--answers must name"]),
    (MONITOR, [*ANSWERS], ["gaps.csv", "column p_value", "Received: a, b"]),
    (MONITOR, [*ANSWERS, "--answers={0}/picture"], ["picture", "csv in UTF-8"]),
    (MONITOR, [*ANSWERS, "--answers={0}/absent"], ["absent", "No such file"]),
    (MONITOR, [ANSWERS[1]], ["model", "calibration_rows", "one of them"]),
    (MONITOR, [*ANSWERS, "--model={0}/export_cut"], ["export_cut", "cannot be read"]),
    (MONITOR, [*ANSWERS, "--state={0}/gaps.csv"], ["--state", "gaps.csv", "overwrite"]),
    (MONITOR, [*ANSWERS, "--state={0}/prose"], ["prose", "state of a DriftMonitor"]),
    (RESTORE, ["--corruption=blur:2"], ["corruption", "blur:2"]),
    (RESTORE, ["--corruption=salt:a"], ["corruption", "salt:a"]),
    (RESTORE, ["--corruption=box:1,2"], ["corruption", "box:1,2"]),
    (RESTORE, ["--walk_steps=0"], ["walk_steps", "0"]),
    (RESTORE, ["--weights=a"], ["weights", "a"]),
    (RESTORE, ["--filters=a"], ["filters", "a"]),
    (ROLLOUT, ["--episodes=hand:foot"], ["hand:reach", "hand:foot"]),
    (ROLLOUT, ["--episodes=npz:{0}/lying.npz"], ["lying.npz", "'episodes'"]),
    (ROLLOUT, ["--episodes=npz:{0}/file"], ["file", "cut off"]),
    (ROLLOUT, ["--epochs=3", "--method=mean"], ["--epochs has no effect", "chains"]),
    (VERA, ["--dataset=npz:{0}/lying.npz"], ["12000 bytes", "holds 4 of them"]),
    (VERA, ["--dataset=npz:{0}/huge.npz"], ["'x'", "holds 4 of them"]),
    (VERA, ["--dataset=npz:{0}/bomb.npz"], ["bomb.npz", "314572800 bytes"]),
    (VERA, ["--dataset=npz:{0}/file"], ["file", "cut off"]),
    (VERA, ["--dataset=csv:{0}/nul.csv"], ["nul.csv", "line 2", "NUL"]),
    (VERA, ["--dataset=csv:{0}/gaps.csv"], ["40 rows", "cells are all missing", "'a'"]),
    (VERA, ["--dataset=csv:{0}/header.csv"], ["header", "3 empty names"]),
    (
        ("trainers.vera", "--dataset=digits"),
        ["--workdir={0}/file/run"],
        ["--workdir", "file/run", "Not a directory"],
    ),
    (
        ("trainers.likelihood", "--dataset=toy:rings"),
        ["--workdir=/proc/run"],
        ["--workdir", "/proc/run"],
    ),
    (EVALUATE, ["--output=/proc/out.json"], ["--output", "/proc/out.json"]),
    (EVALUATE, ["--output={0}/file/out.json"], ["--output", "file/out.json"]),
    (
        EVALUATE,
        ["--output={0}/new/o.json", "--report=/proc/r.html"],
        ["--report", "/proc/r.html"],
    ),
    (
        EVALUATE,
        ["--output={0}/new/o.json", "--pictures={0}/file"],
        ["--pictures", "which is a file"],
    ),
    (
        EVALUATE,
        ["--output={0}/new/o", "--report={0}/new/../new/o"],
        ["--report", "--output", "overwrite"],
    ),
    (EVALUATE, ["--output={0}/m.keras"], ["--output", "--model", "overwrite"]),
    (SAMPLE, ["--output=/proc/o.png"], ["--output", "/proc/o.png"]),
    (
        SAMPLE,
        ["--output={0}/new/o.npz", "--samples={0}/new/o"],
        ["--samples", "--output", "overwrite"],
    ),
    (SAMPLE, ["--output={0}/new/o.png", "--model={0}/cut.keras"], ["cut off"]),
    (
        SAMPLE,
        ["--output={0}/new/o.png", "--model={0}/bomb.keras"],
        ["bomb.keras", "314572800 bytes"],
    ),
    (PREDICT, ["--model={0}/export_list", "--output={0}/new/o"], ["object", "list"]),
    (PREDICT, ["--model={0}/export_empty", "--output={0}/new/o"], ["'target_fpr'"]),
    (
        PREDICT,
        ["--model={0}/export_text", "--output={0}/new/o"],
        ["'target_fpr', of type int or float", "a str"],
    ),
    (
        PREDICT,
        ["--model={0}/export_true", "--output={0}/new/o"],
        ["'calibration_rows', of type int", "a bool"],
    ),
    (
        PREDICT,
        ["--model={0}/export_alone", "--output={0}/new/o"],
        ["export_alone/1", "cannot be loaded", "copy the whole folder"],
    ),
    (PREDICT, ["--model={0}/export_foreign", "--output={0}/new/o"], ["lacks assets."]),
    (PREDICT, ["--model={0}/export_cut", "--output={0}/new/o"], ["cannot be read"]),
    (
        PREDICT,
        ["--model={0}/x", "--dataset=csv:{0}/gaps.csv", "--output={0}/gaps.csv"],
        ["--output", "--dataset", "overwrite"],
    ),
]
#: Flags that another one leaves without effect, by the flags before them.
CLASHES = {
    ("trainers.vera", "--dataset=digits", "--workdir={0}/new/run"): [
        "--toy_rows=9",
        "--target=y",
        "--ignore_columns=a",
        "--missing_words=x",
        "--skip_broken_images",
        "--checkpoints=3",
        "--transform=quantile",
        "--drop_constant=false",
        "--decay_rate=0.5",
        "--augment_density=false",
        "--pseudo_label_threshold=0.5",
        "--adversarial_radius=0.2",
        "--hmc_samples=3",
        "--fold_weight=1",
        "--buffer_size=99",
        "--minimum_share=0.1 --correction=none",
        "--move_steps=2 --correction=none",
        "--jump_stddev=1",
        "--importance_samples=3 --entropy=hmc",
        "--volume_iterations=3 --entropy=log_volume --volume_method=dense",
        "--entropy_weight=0.5 --entropy=none",
        "--entropy=hmc --negatives=none",
        "--latent_dim=3 --method=supervised",
        "--picture_epochs=3 --notensorboard",
        "--epochs=3 --steps=90",
        "--epochs=3 --preset=tabular",
        "--width=3",
        "--hidden=9 --network=wide_resnet",
        "--spectral_norm=false",
        "--generator_filters=9",
        "--generator_hidden=9 --generator_network=dcgan",
    ],
    ("trainers.langevin", "--dataset=digits", "--workdir={0}/new/run"): [
        "--num_leapfrog=3",
        "--num_leapfrog=3 --moves=mala",
        "--target_acceptance=0.5",
        "--noise_stddev=0.1 --moves=hmc",
        "--clip=norm",
        "--restart_share=0.5 --buffer=none",
        "--store_labels=false",
        "--start_mean=0.5",
        "--kl_through=all",
    ],
    ("trainers.likelihood", "--dataset=toy:rings", "--workdir={0}/new/run"): [
        "--num_components=3",
        "--num_couplings=3 --network=mixture",
        "--base_stddev=1",
        "--noise_stddev=0.1",
        "--num_slices=3",
        "--gradient_penalty=0.1",
        "--move_steps=3",
        "--latent_dim=3 --method=persistent_chains",
        "--hmc_samples=3 --method=vera",
    ],
    ("trainers.tune", "--dataset=digits", "--workdir={0}/new/run"): [
        "--toy_rows=9",
        "--hmc_samples=3",
        "--decay_rate=0.5",
        "--augment_density=false --augment=none",
    ],
    ("trainers.evaluate", "--model={0}/m", "--dataset=digits", "--output={0}/new/o"): [
        "--target=y",
        "--reference={0}/new/r.npz",
        "--reference_split=train",
        "--sample_noise=false",
        "--resamples=9",
        "--scores=energy",
    ],
    ("trainers.sample", "--model={0}/m.keras", "--output={0}/new/o.png"): [
        "--noise_stddev=0.1",
        "--skip_broken_images",
    ],
    (
        "export.classifier",
        "--model={0}/m",
        "--calibration=digits",
        "--output={0}/new/o",
    ): [
        "--target=y",
        "--skip_broken_images",
    ],
    ("export.predict", "--dataset=digits", "--model={0}/m", "--output={0}/new/o"): [
        "--optional_columns=a",
        "--skip_broken_images",
    ],
}
CALLS += [
    (usual, text.split(), ["has no effect", "leave", f"{text.partition('=')[0]} out"])
    for usual, flags in CLASHES.items()
    for text in flags
]
CALLS += [
    (
        VERA,
        ["--dataset=digits", "--noskip_broken_images"],
        ["--skip_broken_images has"],
    ),
    # What a flagfile holds may be the whole of another run's flags.
    (VERA, ["--dataset=csv:{0}/nul.csv", "--flagfile={0}/idle"], ["nul.csv", "NUL"]),
    (
        VERA,
        ["--dataset=toy:rings", "--labels_per_class=3"],
        ["`labels_per_class` needs", "toy:rings"],
    ),
    (
        VERA,
        ["--dataset=toy:rings", "--holdout_classes=a"],
        ["`holdout_classes` must", "'a'", "none"],
    ),
    (
        VERA,
        ["--dataset=digits", "--steps=30", "--checkpoint_every=31"],
        ["`checkpoint_every` must be at most the 30 steps", "checkpoint_every=31"],
    ),
    (VERA, ["--dataset=toy:rings", "--augment=crop"], ["`augment` crop needs images"]),
    (VERA, ["--dataset=csv:{0}/new/run/history.csv"], ["--dataset", "overwritten"]),
    (
        ("export.classifier", "--model={0}/m", "--calibration=digits"),
        ["--output={0}/new/o", "--explain", "--score=knn"],
        ["--explain needs --score=energy", "--score=knn"],
    ),
    (
        PREDICT,
        ["--model={0}/export_cut", "--output={0}/export_cut/1/saved_model.pb"],
        ["--output", "outside of the export"],
    ),
    (EVALUATE, ["--output={0}/run.json"], ["--output", "run.json", "overwrite"]),
    (
        EVALUATE,
        ["--output={0}/new/o", "--report={0}/split.npz"],
        ["--report", "split.npz", "overwrite"],
    ),
    (
        EVALUATE,
        ["--ood=csv:{0}/nul.csv", "--output={0}/nul.csv"],
        ["--output", "csv:", "overwrite"],
    ),
    (SAMPLE, ["--output={0}/run.json"], ["--output", "run.json", "overwrite"]),
    (SAMPLE, ["--output={0}/m.keras"], ["--output", "--model", "overwrite"]),
    (
        ("trainers.sample", "--model={0}/a.keras,{0}/b.keras"),
        ["--output={0}/b.keras"],
        ["--output", "b.keras", "overwrite"],
    ),
]


def file_calls(program: str, folder) -> list:
    """`(flags, words of the refusal)` of a program's calls about files in a folder."""
    return [
        ([flag.format(folder) for flag in (*usual, *flags)], words)
        for (name, *usual), flags, words in CALLS
        if name == program
    ]


def is_told(program, words, code, err):
    """Whether a call ended in one line of usage error that holds `words`."""
    begins = err.startswith(f"{program.split('.')[1]}: error: ")
    told = begins and all(word in err for word in words) and len(err) < 1500
    return code == 2 and err.count("\n") == 1 and told
