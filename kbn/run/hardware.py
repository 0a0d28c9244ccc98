"""The cores and GPUs that workers share."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Sequence

CORES_EACH = 2  # where the number of workers is left to kbn, and there is no GPU


def automatic(cores: float, gpus: float) -> int:
    """Return how many workers a machine or a cluster is good for."""
    return max(1, int(gpus) or int(cores // CORES_EACH))


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """Return the ids of NVIDIA's GPUs that this process may use, without importing a backend."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu for gpu in chosen.split(",") if gpu not in ("", "-1")]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        found = subprocess.run(  # noqa: S603
            command, check=True, capture_output=True, text=True, timeout=10
        )
        return found.stdout.split()
    return []


def environment(threads: int, gpus: Sequence[str] | None) -> dict[str, str]:
    """Return the environment variables of a worker, which a backend reads when it is imported.

    Args:
        threads: how many may compute at a time.
        gpus: the GPUs that it may use; None for those that the environment says already.
    """
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    variables = {name: str(threads) for name in names}
    variables["TF_CPP_MIN_LOG_LEVEL"] = "3"
    variables["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"  # a GPU may be shared
    variables["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # JAX', likewise
    if gpus is not None:
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    if threads == 1:  # JAX has no other way to say it
        flag = "--xla_cpu_multi_thread_eigen=false"
        variables["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    return variables
