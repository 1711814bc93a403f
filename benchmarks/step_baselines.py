r"""Times a VERA step against the same step written plainly, in PyTorch, and by chains.

Steps of the same networks, with a gradient penalty, the contrastive objective and
20 importance samples:

- `library`: `keras_ebm.VERA.train_step`, compiled into a graph;
- `two tapes`: the paper's algorithm line by line in TensorFlow, compiled as well: the
  generator is run anew under its own tape, and the energy on what it makes. It keeps
  no metrics, which the library's step does;
- `pytorch`: the same in PyTorch without compilation, in a process of its own. Its
  samples keep their graph from the energy's turn to the generator's, the importance
  samples are drawn under `no_grad`, Adam is the fused one: the fastest plain form,
  in the fastest of both layouts of images and of one and two threads (a trial);
- `chains`: JEM's step with 20 Langevin steps (`LangevinModel`), without penalty;
- `derivatives alone`: of all that only the energy network's derivatives, which any form
  of the step has to take.

Blocks of steps alternate, so that a machine's drift hits all alike. Ratios are medians
over blocks. Processor time (of all threads) is reported beside the wall-clock, as it
depends less on what else the machine does. Run from the top of the checkout:

    python -m benchmarks.step_baselines \
        --output=benchmarks/results/step_baselines.json
"""

import dataclasses
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable

import keras
import numpy as np

from benchmarks.machine import machine
from benchmarks.step_time import WEIGHTS, step_function
from benchmarks.step_torch import TorchStep
from benchmarks.step_two_tapes import (
    LEARNING_RATE,
    PLAIN,
    SAMPLES,
    STDDEV,
    STDDEV_BOUNDS,
    WIDTH,
)
from keras_ebm import VERA, GaussianGenerator, LangevinModel, networks
from keras_ebm.entropy import ImportanceSampling
from keras_ebm.negatives import LangevinMoves, MarkovChains, ReplayBuffer
from keras_ebm.trainers.program import json_files, options, running

CHAIN_STEPS = 20


@dataclasses.dataclass(frozen=True)
class Setting:
    """Networks and batch; `torch_*` name their mirrors in `step_torch.FORWARDS`."""

    batch: int
    energy: Callable
    decoder: Callable
    torch_energy: str
    torch_decoder: str

    def build(self):
        """Energy network and decoder, the same at every call."""
        keras.utils.set_random_seed(0)
        return self.energy(), self.decoder()


IMAGE, LATENT = (32, 32, 3), 128


def _wide_resnet():
    return networks.wide_resnet(IMAGE, 10, depth=10, width=2)


SETTINGS = {
    "WRN-10-2, convolutional decoder": Setting(
        40,
        _wide_resnet,
        lambda: networks.resnet_decoder(LATENT, IMAGE, filters=32, normalization=None),
        "wide_resnet",
        "resnet_decoder",
    ),
    "WRN-10-2, MLP decoder": Setting(
        40,
        _wide_resnet,
        lambda: networks.mlp_decoder(
            LATENT, IMAGE, hidden=(128, 256), output_activation="tanh"
        ),
        "wide_resnet",
        "mlp",
    ),
    "MLP 561-500-500-500-6": Setting(
        64,
        lambda: networks.mlp_energy((561,), 6, hidden=(500, 500, 500)),
        lambda: networks.mlp_decoder(64, (561,), hidden=(128,)),
        "mlp",
        "mlp",
    ),
}
KINDS = ("library", "two tapes", "pytorch", "chains", "derivatives alone")
#: PyTorch's, of which the faster number is taken.
THREADS = {1: "1 thread", 2: "2 threads"}
#: What was aimed at: `(numerator, denominator, comparison, bound)` of times.
TARGETS = (
    ("library", "two tapes", "<=", 0.9),
    ("pytorch", "library", ">=", 1.9),
    ("chains", "library", ">=", 3.0),
)


def build_library(setting: Setting, samples: int = SAMPLES):
    """VERA as the library has it, compiled."""
    network, decoder = setting.build()
    generator = GaussianGenerator(
        decoder, initial_stddev=STDDEV, stddev_bounds=STDDEV_BOUNDS
    )
    entropy = ImportanceSampling(samples, initial_width=WIDTH)
    model = VERA(network, generator, entropy=entropy, **WEIGHTS)
    model.compile(*(keras.optimizers.Adam(LEARNING_RATE) for _ in range(2)))
    return model


def build_chains(setting: Setting):
    """JEM by chains as published, but for the optimizer."""
    network, _ = setting.build()
    chains = MarkovChains(
        LangevinMoves(CHAIN_STEPS, step_size=1.0, noise_stddev=0.01),
        ReplayBuffer(network.input_shape[1:], 10_000),
        start="uniform",
    )
    weight = WEIGHTS["energy_weight"]
    model = LangevinModel(network, chains, energy_weight=weight, data_stddev=0.03)
    model.compile(keras.optimizers.Adam(LEARNING_RATE))
    return model


class Local:
    """A compiled step of this process as `steps -> (seconds, processor seconds)`."""

    def __init__(self, model, batch: int):
        self.function = step_function(model, batch)

    def __call__(self, steps: int):
        start, used = time.perf_counter(), time.process_time()
        for _ in range(steps):
            logs = self.function()
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise RuntimeError(f"The loss is {loss}: the times would mean nothing.")
        return time.perf_counter() - start, time.process_time() - used


class Torch:
    """The same for PyTorch, whose process waits while others are timed.

    Args:
        name: key of `SETTINGS`.
        threads: int.
        channels_last: bool.
        fused: bool, whether Adam is PyTorch's fused one.
    """

    #: Else its idle threads spin, and starve whatever shares the processor.
    ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}

    def __init__(
        self, name: str, threads: int = 2, channels_last: bool = True, fused=True
    ):
        arguments = f"{name!r}, {threads}, {channels_last}, {fused}"
        program = f"""
from benchmarks.step_baselines import serve_torch
serve_torch({arguments})
"""
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, **self.ENVIRONMENT, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version = self._answer()[0]

    def __call__(self, steps: int):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return tuple(float(value) for value in self._answer())

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("The process of PyTorch ended; see its error above.")
        return line.split()

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def serve_torch(name: str, threads: int, channels_last: bool, fused: bool) -> None:
    """Answers each number of steps on stdin by `seconds processor_seconds`."""
    import torch

    torch.set_num_threads(threads)
    setting = SETTINGS[name]
    network, decoder = setting.build()
    step = TorchStep(
        setting, network, decoder, channels_last=channels_last, fused=fused
    )
    rng = np.random.default_rng(0)
    shape = (setting.batch, *step.shape)
    x = step.inputs(rng.uniform(-1, 1, shape).astype(np.float32))
    classes = network.output_shape[-1]
    y = torch.tensor(rng.integers(0, classes, setting.batch))
    print(torch.__version__, flush=True)
    for line in sys.stdin:
        start, used = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            losses = step.train_step(x, y)
        if not math.isfinite(float(losses["loss"])):
            raise RuntimeError("PyTorch's loss is not finite.")
        seconds, used = time.perf_counter() - start, time.process_time() - used
        print(seconds, used, flush=True)


def alternate(runners: dict, blocks: int, steps: dict, warm_up: int = 3):
    """Wall-clock and processor milliseconds a step, each `{kind: (blocks,)}`.

    Args:
        runners: `{kind: callable}` from steps to `(seconds, processor seconds)`.
        blocks: int.
        steps: `{kind: steps in a block}`.
        warm_up: int, steps before anything is timed.
    """
    wall, used = ({kind: [] for kind in runners} for _ in range(2))
    for runner in runners.values():
        runner(warm_up)
    order = list(runners)
    for block in range(blocks):
        # There and back: nobody always follows the same neighbour.
        for kind in order if block % 2 == 0 else reversed(order):
            seconds = runners[kind](steps[kind])
            wall[kind].append(1e3 * seconds[0] / steps[kind])
            used[kind].append(1e3 * seconds[1] / steps[kind])
    return tuple(
        {kind: np.array(v) for kind, v in times.items()} for times in (wall, used)
    )


def build(kind: str, setting: Setting):
    """The model of one of `KINDS` that runs in this process."""
    if kind in PLAIN:
        return PLAIN[kind](*setting.build())
    return (build_library if kind == "library" else build_chains)(setting)


def measure(name: str, blocks: int, steps: int, kinds=KINDS, choose: int = 3) -> dict:
    """Times and ratios of one of `SETTINGS`.

    Args:
        name: key of `SETTINGS`.
        blocks: int, alternations.
        steps: int, steps in a block; of `chains` a third.
        kinds: those of `KINDS` to time; `pytorch` needs it installed.
        choose: int, alternations between PyTorch's layouts and numbers of threads
            beforehand, of which the fastest is taken.
    """
    setting, row = SETTINGS[name], {"batch": SETTINGS[name].batch}
    runners = {
        kind: Local(build(kind, setting), setting.batch)
        for kind in kinds
        if kind != "pytorch"
    }
    workers = []
    try:
        if "pytorch" in kinds:
            torch, row["pytorch"] = _fastest_torch(name, choose, steps, workers)
            runners["pytorch"] = torch
        per_block = {kind: steps for kind in runners}
        per_block["chains"] = max(1, steps // 3)
        wall, used = alternate(runners, blocks, per_block)
    finally:
        for worker in workers:
            worker.close()
    row["milliseconds"] = {kind: quartiles(values) for kind, values in wall.items()}
    row["processor_milliseconds"] = {
        kind: quartiles(values) for kind, values in used.items()
    }
    row["load_average"] = os.getloadavg()[0]
    row["ratios"] = compare(wall, used)
    return row


def compare(wall: dict, used: dict) -> dict:
    """Ratios of times of blocks, `{kind: (blocks,)}`, against `TARGETS`."""
    ratios = {}
    for above, below, comparison, bound in TARGETS:
        if above not in wall or below not in wall:
            continue
        ratio = quartiles(wall[above] / wall[below])
        median = ratio["median"]
        ratios[f"{above} / {below}"] = {
            **ratio,
            "processor": quartiles(used[above] / used[below]),
            "target": f"{comparison} {bound:g}",
            "met": median <= bound if comparison == "<=" else median >= bound,
        }
    return ratios


def _fastest_torch(name, blocks, steps, workers):
    """PyTorch in its fastest layout and threads, and the times that chose them."""
    layouts = [False, True] if SETTINGS[name].torch_energy != "mlp" else [False]
    runners = {}
    for channels_last in layouts:
        for threads in THREADS:
            layout = "channels_last" if channels_last else "contiguous"
            worker = Torch(name, threads, channels_last)
            workers.append(worker)
            runners[f"{layout}, {THREADS[threads]}"] = worker
    wall, _ = alternate(runners, blocks, dict.fromkeys(runners, steps))
    trial = {layout: float(np.median(values)) for layout, values in wall.items()}
    chosen = min(trial, key=trial.get)
    return runners[chosen], {
        "version": workers[0].version,
        "chosen": chosen,
        "trial_milliseconds": trial,
    }


def quartiles(values) -> dict:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"median": float(middle), "quartiles": [float(low), float(high)]}


def table(results: dict) -> str:
    """Markdown: the times, and the ratios with their targets."""
    times = [
        "| networks | step | ms (quartiles) | processor ms | of the library's |",
        "|---|---|---:|---:|---:|",
    ]
    ratios = [
        "| networks | ratio | median (quartiles) | by processor time | target | |",
        "|---|---|---:|---:|---:|---|",
    ]
    for name, row in results["settings"].items():
        wall, used = row["milliseconds"], row["processor_milliseconds"]
        for kind in KINDS:
            if kind not in wall:
                continue
            low, high = wall[kind]["quartiles"]
            share = wall[kind]["median"] / wall["library"]["median"]
            times.append(
                f"| {name} | {kind} | {wall[kind]['median']:.1f} "
                f"({low:.1f} to {high:.1f}) | {used[kind]['median']:.1f} "
                f"| {share:.2f} |"
            )
        for ratio, values in row["ratios"].items():
            low, high = values["quartiles"]
            ratios.append(
                f"| {name} | {ratio} | {values['median']:.2f} ({low:.2f} to "
                f"{high:.2f}) | {values['processor']['median']:.2f} "
                f"| {values['target']} | {'met' if values['met'] else 'missed'} |"
            )
    return "\n".join([*times, "", *ratios]) + "\n"


@dataclasses.dataclass(frozen=True)
class BaselineSettings:
    """Flags of the benchmark."""

    blocks: int = options.setting(15, "Alternations.")
    seconds: float = options.setting(2.0, "Length of a block, about.")
    only: str = options.setting("", "One of the settings; default all.")
    output: str = options.setting("", "JSON file to write, or to add settings to.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(BaselineSettings)
    results = {"machine": machine(), "samples": SAMPLES, "settings": {}}
    if settings.output and os.path.exists(settings.output):
        results = {**json_files.read_json(settings.output), "machine": machine()}
    for name, setting in SETTINGS.items():
        if settings.only not in ("", name):
            continue
        trial = Local(build("two tapes", setting), setting.batch)
        trial(3)
        steps = max(1, round(5 * settings.seconds / trial(5)[0]))
        row = measure(name, settings.blocks, steps)
        results["settings"][name] = {"steps": steps, "blocks": settings.blocks, **row}
        if settings.output:
            json_files.write_json(settings.output, results)
    print(table(results))


if __name__ == "__main__":
    options.define_flags(BaselineSettings)
    running.run_program(main)
