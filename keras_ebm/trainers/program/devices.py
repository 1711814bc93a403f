"""Strategies: on which devices, and on how many machines, a run is trained."""

import contextlib
import json
import os

import tensorflow as tf


def _multiworker():
    try:
        config = json.loads(os.environ.get("TF_CONFIG", ""))
        workers, task = config["cluster"]["worker"], config["task"]
        known = task["type"] == "worker" and 0 <= int(task["index"]) < len(workers)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise ValueError(
            "`strategy` multiworker needs TF_CONFIG, the same cluster on every worker "
            "and its own task. Received: TF_CONFIG="
            f"{os.environ.get('TF_CONFIG', '')!r}; set it to such as "
            '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
            '"task": {"type": "worker", "index": 0}}.'
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


def worker_of(strategy) -> tuple[int, int]:
    """`(index, count)` of the worker that this process is; `(0, 1)` when alone."""
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None or not resolver.cluster_spec():
        return 0, 1
    return resolver.task_id, resolver.cluster_spec().num_tasks("worker")


def check_one_worker(remedy: str) -> None:
    """Checks, in the scope of a strategy, that a replay buffer can be kept.

    Args:
        remedy: the setting that does without one, for the error.

    Raises:
        ValueError: if several workers train, each with its own part of a buffer.
    """
    if worker_of(tf.distribute.get_strategy())[1] > 1:
        raise ValueError(
            "`buffer` cannot be saved whole from several workers. Received: "
            "strategy=multiworker with a replay buffer; use strategy=mirrored, or "
            f"{remedy}."
        )


def scope_of(strategy):
    """The scope of a strategy, for `with`; None's is that of a single device."""
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def check_batch(batch_size: int, strategy, what: str = "`batch_size`") -> None:
    """Raises ValueError if a strategy's replicas cannot share a batch equally."""
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise ValueError(
            f"{what} must be a multiple of the number of replicas. Received: "
            f"batch_size={batch_size} for {replicas}."
        )


def make_strategy(name: str, cpu_replicas: int = 2):
    """Returns a `tf.distribute` strategy, or None for a single device.

    Call it before anything runs on a device.

    Args:
        name: `"none"`, `"mirrored"`: one replica on each GPU, or
            `"multiworker"`: the same on every machine that `TF_CONFIG` names.
        cpu_replicas: int, replicas where there is no GPU; two show that a
            program is right, they do not make it faster.

    Raises:
        ValueError: if `multiworker` finds no `TF_CONFIG`.
    """
    if name == "none":
        return None
    if name == "multiworker":
        return _multiworker()
    if tf.config.list_physical_devices("GPU"):
        return tf.distribute.MirroredStrategy()
    cpu = tf.config.list_physical_devices("CPU")[0]
    if tf.config.get_logical_device_configuration(cpu) is None:
        devices = [tf.config.LogicalDeviceConfiguration()] * cpu_replicas
        tf.config.set_logical_device_configuration(cpu, devices)
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    # The default reduction of CPU replicas fails with several steps per
    # execution and with a second strategy in one process.
    return tf.distribute.MirroredStrategy(
        devices, cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
