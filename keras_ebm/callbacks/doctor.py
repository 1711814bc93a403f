"""Names the state of a run, says what to change, and may take it back."""

import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from keras_ebm import files
from keras_ebm.arguments import check_integer, check_positive, check_share
from keras_ebm.callbacks.doctor_measures import Measures
from keras_ebm.callbacks.doctor_rules import CODES, HEALTHY, Finding, find
from keras_ebm.callbacks.stop_on_divergence import StopOnDivergence, unsound_logs
from keras_ebm.models.base import BaseEnergyModel
from keras_ebm.schedules import Scaled

LOG = "doctor"


class Doctor(keras.callbacks.Callback):
    """Examines a run now and then: its state, the evidence, and what to change.

    The states are those of `keras_ebm.callbacks.doctor_rules.RULES`, each known by
    measures and their limits, and looked for only where its measures can be had. A
    state gives a `UserWarning` when it is first found, and the log `doctor` its number
    in the table (0: healthy) at the end of every epoch. Nothing of the training
    changes: all draws are of the callback's own.

    With `rollback` a run that diverges goes back to the weights (and optimizer states
    and chains) of the last examination that found it healthy, with all learning rates
    times `factor`. After `tries` times it stops, and `reason` says why. States that a
    lower rate does not cure are told and left alone.

    Args:
        x: raw data rows, of which the first 64 are looked at; None: what compares
            samples, chains or energies with them is not looked for.
        every: int >= 0, steps between examinations; 0: at the end of each epoch.
        rollback: bool, whether to go back.
        tries: int >= 1, how often at most.
        factor: float in (0, 1), of the learning rates at each time.
        path: JSON file for what `report` gives, or None.
        initial_epoch: int, as it is passed to `fit`: of a run that is continued the
            file's findings and the rates that it came to are taken up.
        watch: `StopOnDivergence` of the same run, called before this one, whose stop
            is taken back with the weights.

    Attributes:
        state: name of the state at the latest examination.
        reason: why training was stopped, or None.

    Raises:
        ValueError: if an argument breaks its rule, or the model has no energies.

    Example:

    >>> doctor = Doctor(x, rollback=True)
    >>> model.fit(x, callbacks=[doctor])
    >>> doctor.report()["findings"]
    """

    def __init__(
        self,
        x: Any = None,
        every: int = 0,
        *,
        rollback: bool = False,
        tries: int = 2,
        factor: float = 0.3,
        path: str | os.PathLike | None = None,
        initial_epoch: int = 0,
        watch: StopOnDivergence | None = None,
    ):
        super().__init__()
        self.x = x
        check_positive("every", check_integer("every", every), zero_allowed=True)
        self.every = int(every)
        self.rollback = bool(rollback)
        self.tries = int(check_positive("tries", check_integer("tries", tries)))
        self.factor = check_share("factor", factor)
        self.path = None if path is None else Path(path)
        self.initial_epoch = initial_epoch
        self.watch = watch
        self.state = HEALTHY
        self.reason: str | None = None
        self._examined: list[dict] = []
        self._findings: list[dict] = []
        self._rollbacks: list[dict] = []
        self._told: set[str] = set()
        self._schedules: dict[str, Callable] = {}
        #: What the latest examination found, by state.
        self._current: dict[str, dict] = {}
        self._kept: Path | None = None
        self._folder: tempfile.TemporaryDirectory | None = None

    def set_model(self, model):
        super().set_model(model)
        if not isinstance(model, BaseEnergyModel):
            raise ValueError(
                "Doctor needs a model of energies, such as keras_ebm.models.VERA. "
                f"Received: a {type(model).__name__}; use StopOnDivergence."
            )

    def on_train_begin(self, logs=None):
        self._measures = Measures(self.model, self.x)
        self._step = int(self.model.optimizer.iterations.numpy())
        self._epoch, self._batch = 0, -1
        self._take_up()
        self._write()
        if self.rollback:
            self._folder = tempfile.TemporaryDirectory()
            self._kept = Path(self._folder.name) / "healthy.weights.h5"
            self._keep()

    def on_train_end(self, logs=None):
        self._write()
        if self._folder is not None:
            self._folder.cleanup()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._batch = epoch, -1
        self._measures.begin()

    def on_train_batch_end(self, batch, logs=None):
        before = self._step
        self._step += batch - self._batch
        self._batch = batch
        self._measures.note(batch, logs or {})
        # By the number of the step, so that a run that is continued does the same.
        if self.every and self._step // self.every > before // self.every:
            self._examine(logs or {})

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        if self.model.stop_training or not self.every:
            self._examine(logs)
        logs[LOG] = float(CODES[self.state])

    def report(self) -> dict:
        """What was found, as JSON can hold it.

        Returns:
            Dict of `state`; `findings`, dicts of `state`, `meaning`, the `epoch` (from
            1) and the `step` at which it was found, `until_step`, the latest in a row,
            `evidence` and `limits` by measure, `remedy`, and of what is not finite the
            names of the `logs`; `rollbacks`, dicts of
            `epoch`, `step`, `state`, `to_step` and `factor`; `reason`; and `measures`,
            those of the latest examination.
        """
        return {
            "state": self.state,
            "findings": list(self._findings),
            "rollbacks": list(self._rollbacks),
            "reason": self.reason,
            "measures": dict(self._examined[-1]) if self._examined else {},
        }

    @property
    def examinations(self) -> list[dict]:
        """Measures of all examinations that count, with `step` and `state` of each."""
        return [dict(measures) for measures in self._examined]

    def _examine(self, logs):
        """Looks at the run once, tells what it finds, and does what is to be done."""
        measures: dict[str, Any] = self._measures.take(logs, self._step)
        if self.watch is not None and self.watch.reason:
            measures["unsound"] = max(1.0, measures["unsound"])
        self._examined.append(measures)
        first = getattr(self.model, "plain_steps", 0)
        found = find(self._examined, self._step, first)
        self.state = found[0].rule.name if found else HEALTHY
        measures |= {"step": self._step, "state": self.state}
        self._unsound = unsound_logs(logs)
        self._current = {finding.rule.name: self._tell(finding) for finding in found}
        cured = [finding for finding in found if finding.rule.cured]
        if self.rollback and cured:
            self._go_back(cured[0])
        elif self.rollback and not found:
            self._keep()
        if found:
            self._write()

    def _tell(self, finding: Finding) -> dict:
        """Goes on with what was found the last time, or begins and warns."""
        rule = finding.rule
        if rule.name in self._current:
            told = self._current[rule.name]
            told["until_step"] = self._step
            return told
        told = {
            "state": rule.name,
            "meaning": rule.meaning,
            "epoch": self._epoch + 1,
            "step": self._step,
            "until_step": self._step,
            "evidence": finding.evidence,
            "limits": {name: str(limit) for name, limit in rule.limits.items()},
            "remedy": rule.remedy
            if isinstance(rule.remedy, str)
            else rule.remedy(self.model),
        }
        if "unsound" in rule.limits:
            told["logs"] = self._unsound
        self._findings.append(told)
        # What `watch` stops a run with, it says itself.
        stopped = bool(self.watch and self.watch.reason) and not self.rollback
        known = rule.name in self._told or (stopped and "unsound" in rule.limits)
        self._told.add(rule.name)
        if not known:
            warnings.warn(
                f"{_as_line(finding, self._step)}; {told['remedy']}.", stacklevel=2
            )
        return told

    def _keep(self):
        files.save_weights(self.model, self._kept, step=self._step)
        self._kept_step = self._step
        self._kept_count = len(self._examined), len(self._rollbacks)

    def _go_back(self, finding: Finding):
        """Takes up the last healthy weights at lower rates, or stops the run."""
        if len(self._rollbacks) >= self.tries:
            self._stop(finding)
            return
        self._rollbacks.append(
            {
                "epoch": self._epoch + 1,
                "step": self._step,
                "state": finding.rule.name,
                "to_step": self._kept_step,
                "factor": self.factor,
            }
        )
        examined, rollbacks = self._kept_count
        self.model.load_weights(self._kept)
        self._step = self._kept_step
        # The weights' own rate has the factors in it that they were trained with.
        self._lower_rates(self.factor ** (len(self._rollbacks) - rollbacks))
        del self._examined[examined:]
        self._current = {}
        self._measures.forget()
        self._measures.begin(self._batch + 1)
        self.model.reset_metrics()
        if self.watch is not None and self.watch.reason:
            self.watch.reason = None
            self.model.stop_training = False

    def _stop(self, finding):
        self.reason = (
            f"training stopped: {_as_line(finding, self._step)}, and it was so before "
            f"{self.tries} roll-backs that multiplied the learning rates by "
            f"{self.factor:g}; {self._current[finding.rule.name]['remedy']}"
        )
        self.model.stop_training = True
        if self.watch is not None:
            self.watch.reason = self.reason

    def _lower_rates(self, factor):
        """Rates that are variables times `factor`, schedules times all factors."""
        scheduled = False
        for name, optimizer in self.model.named_optimizers().items():
            # Half precision wraps an optimizer.
            optimizer = getattr(optimizer, "inner_optimizer", optimizer)
            rate = optimizer._learning_rate
            if not callable(rate):
                optimizer.learning_rate = float(optimizer.learning_rate) * factor
                continue
            scheduled = True
            whole = math.prod(back["factor"] for back in self._rollbacks)
            begun_as = self._schedules.setdefault(name, rate)
            optimizer.learning_rate = Scaled(begun_as, whole)
        if scheduled:
            # The schedule is a part of the graph.
            self.model.make_train_function(force=True)

    def _take_up(self):
        """Of a run that is continued, what the file holds of the epochs before."""
        if not (self.initial_epoch and self.path and self.path.is_file()):
            return
        kept = json.loads(self.path.read_text("utf-8"))
        before = self.initial_epoch
        self._findings = [f for f in kept["findings"] if f["epoch"] <= before]
        self._rollbacks = [r for r in kept["rollbacks"] if r["epoch"] <= before]
        self._told = {finding["state"] for finding in self._findings}
        if self._rollbacks:
            # A rate that is a variable came back with the optimizer's state.
            self._lower_rates(1.0)

    def _write(self):
        if self.path is not None:
            text = json.dumps(self.report(), indent=2, allow_nan=False)
            files.write_text(self.path, text + "\n")


def _as_line(finding, step) -> str:
    rule = finding.rule
    return f"{rule.name}: {rule.meaning} after step {step} ({finding.told()})"
