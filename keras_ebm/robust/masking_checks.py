"""Whether attacks on a model behave as they do where gradients tell the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_ebm.protocols import RandomDraws
from keras_ebm.robust.losses import answer
from keras_ebm.robust.pgd import checked_rows, pgd
from keras_ebm.robust.square_attack import square_attack

#: What is left by an attack without a bound, at most.
UNBOUNDED = 0.05


class MaskedGradients(ValueError):
    """Attacks by gradients say nothing of a model."""


def masking_failures(
    white: Mapping[float, float],
    *,
    black: Mapping[float, float] | None = None,
    one_step: Mapping[float, float] | None = None,
    unbounded: float | None = None,
    tolerance: float = 0.02,
) -> list[str]:
    """What measured accuracies say against the gradients that attacks went by.

    Args:
        white: accuracy in [0, 1] by bound under the attack of many steps.
        black: the same under an attack without gradients, of some of these bounds.
        one_step: the same under an attack of one step.
        unbounded: accuracy under an attack whose ball is all of the box.
        tolerance: float >= 0, what accuracies may be off by, as they are of few rows.

    Returns:
        Sentences, none where nothing is wrong.

    References:
        - Athalye et al. (2018), https://arxiv.org/abs/1802.00420, section 3.1.
        - Carlini et al. (2019), https://arxiv.org/abs/1902.06705.
    """
    failures = []
    bounds = sorted(white)
    for low, high in zip(bounds, bounds[1:], strict=False):
        if white[high] > white[low] + tolerance:
            failures.append(
                f"a larger bound is not stronger: {white[high]:.3f} right at "
                f"{high:g}, {white[low]:.3f} at {low:g}"
            )
    for name, found in {
        "the black box is stronger": black or {},
        "one step is stronger than many": one_step or {},
    }.items():
        for bound in sorted(set(found) & set(white)):
            if found[bound] < white[bound] - tolerance:
                failures.append(
                    f"{name}: {found[bound]:.3f} right at {bound:g}, "
                    f"{white[bound]:.3f} under the white box"
                )
    if unbounded is not None and unbounded > UNBOUNDED + tolerance:
        failures.append(
            f"an attack without a bound does not win: {unbounded:.3f} are still right"
        )
    return failures


def masking_checks(
    logits_fn: Callable,
    x: Any,
    y: Any,
    *,
    bounds: Sequence[float],
    box: tuple[float, float],
    norm: str = "linf",
    num_steps: int = 20,
    eot: int = 1,
    num_queries: int = 200,
    tolerance: float = 0.02,
    raise_failures: bool = True,
    rows_at_a_time: int = 500,
    random: RandomDraws,
) -> list[str]:
    """Attacks a model in ways that show whether its gradients are masked.

    A larger bound must be stronger, the white box stronger than the black one, many
    steps stronger than one, and an attack that may go anywhere in the box must win.

    Args:
        logits_fn: see `pgd`.
        x: preprocessed inputs `(batch, ...)`.
        y: `(batch,)` labels.
        bounds: floats above 0.
        box: `(low, high)` of preprocessed inputs.
        norm: `"linf"` or `"l2"`.
        num_steps: int >= 2, of the white box.
        eot: see `pgd`.
        num_queries: int >= 1, of the black box.
        tolerance: see `masking_failures`.
        raise_failures: bool.
        rows_at_a_time: int >= 1.
        random: `keras_ebm.random.StepRandom`.

    Returns:
        Sentences, none where nothing is wrong.

    Raises:
        MaskedGradients: if there is one, unless `raise_failures` is False.
    """
    x, y = checked_rows(x, y)
    common = {"norm": norm, "box": box, "rows_at_a_time": rows_at_a_time}
    if not bounds or min(bounds) <= 0:
        raise ValueError(
            f"`bounds` must be numbers above 0. Received: bounds={list(bounds)!r}."
        )

    def right(attack, bound, **numbers):
        found = attack(logits_fn, x, y, bound=bound, random=random, **common, **numbers)
        asked = (
            found.x[i : i + rows_at_a_time] for i in range(0, len(x), rows_at_a_time)
        )
        logits = [answer(logits_fn, part, random.fold(-1)) for part in asked]
        return float(np.mean(np.argmax(np.concatenate(logits), axis=1) == y.numpy()))

    white = {
        bound: right(pgd, bound, num_steps=num_steps, eot=eot)
        for bound in sorted(bounds)
    }
    one = {b: right(pgd, b, num_steps=1, step_size=b, eot=eot) for b in white}
    black = {b: right(square_attack, b, num_queries=num_queries) for b in white}
    width = box[1] - box[0]
    whole = width if norm == "linf" else width * float(np.sqrt(x[0].numpy().size))
    # Short steps, as of an everywhere that is this large most is far from the row.
    unbounded = right(
        pgd, whole, num_steps=5 * num_steps, step_size=0.05 * whole, eot=eot
    )
    failures = masking_failures(
        white, black=black, one_step=one, unbounded=unbounded, tolerance=tolerance
    )
    if failures and raise_failures:
        raise MaskedGradients(
            "Accuracies under these attacks say nothing of the model: "
            f"{'; '.join(failures)}. Take more steps, restarts or draws (eot), or "
            "gradients through a part that has none (bpda)."
        )
    return failures
