"""Where and when something was measured."""

import datetime
import os
import platform
from pathlib import Path

import psutil

BUSY_LOAD = 0.5
VECTORS = {"avx512_vnni": "AVX-512 with VNNI", "avx512f": "AVX-512", "avx2": "AVX2"}
"""What a model's speed depends on more than on the processor's name, best first."""


def describe_machine() -> dict[str, str]:
    """Return what a reader must know to compare figures with their own."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def is_busy() -> bool:
    """Whether others use the machine, so that small differences mean nothing."""
    return os.getloadavg()[0] > BUSY_LOAD


def _processor() -> str:
    lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    described = {name.strip(): value.strip() for name, _, value in lines}
    name = described.get("model name", platform.machine())
    known = described.get("flags", "").split()
    vectors = next((f" ({words})" for flag, words in VECTORS.items() if flag in known), "")
    return name + vectors
