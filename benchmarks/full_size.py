r"""Times the steps of the papers' CIFAR-10 runs at their full size, on a GPU.

The models are those of the presets `vera_cifar10` and `jem_cifar10` (WRN-28-10, in the
first with a ResNet generator of 256 channels), with their batches, on made-up images;
`plain` is the first's network and batch with the cross-entropy alone. Only what goes
on in the model's `train_step` is timed: the input is a constant. A loss that is not
finite ends the benchmark. Memory is the most that TensorFlow's allocator had in use.
From the top of the checkout:

    python -m benchmarks.full_size --output=benchmarks/results/full_size/steps.json
    python -m benchmarks.full_size --jit_compile --precisions=mixed_bfloat16 \
        --output=benchmarks/results/full_size/steps_xla.json

The results for chains are saved in files of their own, beside these.
"""

import dataclasses
import gc
import time

import keras
import numpy as np
import tensorflow as tf

from benchmarks.machine import machine
from keras_ebm.trainers.presets import JEM_CIFAR10, VERA_CIFAR10
from keras_ebm.trainers.program import errors, json_files, options, running
from keras_ebm.trainers.run.dry_run import synthetic
from keras_ebm.trainers.run.flops import step_flops
from keras_ebm.trainers.settings.chains import ChainSettings, build_langevin
from keras_ebm.trainers.settings.data import DataSettings
from keras_ebm.trainers.settings.optimizers import compile_model
from keras_ebm.trainers.settings.unlabelled import VERA_METHODS
from keras_ebm.trainers.settings.vera import ModelSettings, build_model

#: Preset, class of its model's settings and function that builds the model.
CASES = {
    "vera": (VERA_CIFAR10, ModelSettings, build_model),
    "plain": (
        {**VERA_CIFAR10, **VERA_METHODS["supervised"]},
        ModelSettings,
        build_model,
    ),
    "chains": (JEM_CIFAR10, ChainSettings, build_langevin),
}
#: Images that train: the rest validate and calibrate.
TRAINING_ROWS = 40_000
WARM_UP = 3


def _settings(settings_class, flags: dict):
    names = {field.name for field in dataclasses.fields(settings_class)}
    return settings_class(**{k: v for k, v in flags.items() if k in names})


def build(case: str, batch: int = 0, **flags):
    """`(model, x, y, preset)`: compiled, with one batch of made-up raw images.

    Args:
        case: key of `CASES`.
        batch: int, images a step; 0: the preset's.
        **flags: of the model's settings, over the preset's.
    """
    preset, settings_class, build_network = CASES[case]
    preset = {**preset, **flags}
    preset["batch_size"] = batch or preset["batch_size"]
    keras.utils.set_random_seed(0)
    run = synthetic(_settings(DataSettings, preset))
    settings = _settings(settings_class, preset)
    rows, _ = run.rows("train")
    model = build_network(run.dataset, rows, settings, 0)
    compile_model(model, settings, preset["epochs"], steps_of_epoch(preset))
    rng = np.random.default_rng(0)
    shape = (preset["batch_size"], *rows.shape[1:])
    x = tf.constant(rng.integers(0, 256, shape, dtype=np.uint8))
    classes = len(run.dataset.class_names)
    y = tf.constant(rng.integers(0, classes, len(x)).astype(np.int32))
    return model, x, y, preset


def steps_of_epoch(preset: dict) -> int:
    return TRAINING_ROWS // preset["batch_size"]


def measure(case: str, blocks: int, steps: int, jit_compile: bool, **flags) -> dict:
    """Milliseconds, operations and memory of one case's step.

    Args:
        case: key of `CASES`.
        blocks, steps: ints, blocks timed and steps in each.
        jit_compile: bool, whether XLA compiles the step.
        **flags: see `build`.

    Raises:
        ValueError: if a loss is not finite.
    """
    model, x, y, preset = build(case, **flags)
    step = tf.function(
        lambda: model.train_step((x, y)), jit_compile=jit_compile, autograph=False
    )
    _forget_peak()
    start = time.perf_counter()
    for _ in range(WARM_UP):
        loss = float(step()["loss"])
        if not np.isfinite(loss):
            raise ValueError(f"A loss of {case} is not finite. Received: {loss}.")
    first = time.perf_counter() - start
    times = []
    for _ in range(blocks):
        start = time.perf_counter()
        for _ in range(steps):
            logs = step()
        loss = float(logs["loss"])
        times.append(1e3 * (time.perf_counter() - start) / steps)
    if not np.isfinite(loss):
        raise ValueError(f"A loss of {case} is not finite. Received: {loss}.")
    middle = float(np.median(times))
    operations = step_flops(model, x[:2], y[:2])["flops_step"] * len(x)
    whole = preset["epochs"] * steps_of_epoch(preset)
    return {
        "batch": len(x),
        "parameters": model.network.count_params(),
        "milliseconds": middle,
        "milliseconds_quartiles": np.percentile(times, [25, 75]).tolist(),
        "seconds_of_first_steps": first,
        "flops_step": operations,
        "flops_second": operations / middle * 1e3,
        "peak_gibibytes": _peak(),
        "steps_of_the_run": whole,
        "hours_of_the_run": whole * middle / 3.6e6,
    }


def _forget_peak() -> None:
    gc.collect()
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.reset_memory_stats("GPU:0")


def _peak() -> float | None:
    """Of the first GPU, if there is one."""
    if not tf.config.list_physical_devices("GPU"):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**30


@dataclasses.dataclass(frozen=True)
class FullSizeSettings:
    """Flags of the benchmark."""

    cases: tuple = options.setting(tuple(CASES), "Of vera, plain and chains.")
    precisions: tuple = options.setting(
        ("float32", "mixed_bfloat16"), "Each a measurement of its own."
    )
    jit_compile: bool = options.setting(False, "Compile steps by XLA.")
    blocks: int = options.setting(5, "Blocks timed; their median is the result.")
    steps: int = options.setting(10, "Steps in a block.")
    output: str = options.setting("", "JSON file to write.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(FullSizeSettings)
    unknown = set(settings.cases) - set(CASES)
    with errors.usage_errors():
        if unknown:
            raise ValueError(f"`cases` is of {list(CASES)}. Received: {unknown}.")
    results = {"machine": machine()}
    for case in settings.cases:
        for precision in settings.precisions:
            keras.backend.clear_session()
            name = f"{case}, {precision}" + ", XLA" * settings.jit_compile
            found = measure(
                case,
                settings.blocks,
                settings.steps,
                settings.jit_compile,
                precision=precision,
            )
            results[name] = found
            if settings.output:
                json_files.write_json(settings.output, results)
            print(
                f"{name}: {found['milliseconds']:.1f} ms a step of {found['batch']}, "
                f"{found['flops_second'] / 1e12:.1f} TFLOP a second, "
                f"{found['hours_of_the_run']:.1f} h for the run",
                flush=True,
            )


if __name__ == "__main__":
    options.define_flags(FullSizeSettings)
    running.run_program(main)
