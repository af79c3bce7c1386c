"""How many GPUs and CPUs the server may use. Runs in the front process, once, at the start."""

import math
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

_NVIDIA_SMI_TIMEOUT_S = 10.0


def count_gpus(environ: Mapping[str, str]) -> int:
    """Return the number of GPUs that workers can open: what nvidia-smi lists, or fewer by CUDA_VISIBLE_DEVICES.

    No nvidia-smi in PATH, or one that fails or hangs, means no GPU.
    """
    command = shutil.which("nvidia-smi", path=environ.get("PATH"))
    if command is None:
        return 0
    try:
        result = subprocess.run(
            [command, "--query-gpu=index", "--format=csv,noheader"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_NVIDIA_SMI_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    # A driver that is not loaded is a message on stdout, so only numbers count.
    listed = sum(line.strip().isdigit() for line in result.stdout.splitlines()) if result.returncode == 0 else 0
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return listed
    devices = [device.strip() for device in visible.split(",")]
    # CUDA ignores everything from the first invalid entry on.
    usable = next((index for index, device in enumerate(devices) if device in ("", "-1")), len(devices))
    return min(listed, usable)


def count_cpus(*, cgroup_root: Path = Path("/sys/fs/cgroup"), process_cgroup: Path = Path("/proc/self/cgroup")) -> int:
    """Return the number of CPUs that this process may really use: its affinity, or fewer by the quota of its cgroups.

    A container with `--cpus=1.5` counts as 2. Source: kernel documentation, cgroup-v2 (`cpu.max`) and sched-bwc
    (`cpu.cfs_quota_us`).
    """
    # macOS has no affinity.
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _cgroup_folders(cgroup_root, process_cgroup) if (quota := _quota(folder)) is not None]
    return max(1, min([available, *(math.ceil(quota) for quota in quotas)]))


def _cgroup_folders(root: Path, process_cgroup: Path) -> list[Path]:
    """Return the folders whose CPU quota binds this process: its own cgroup and those above it, of both versions."""
    folders: list[Path] = []
    try:
        lines = process_cgroup.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for base in [root / "cpu", root / "cpu,cpuacct"] if controllers else [root]:
            # Inside a container the path is often that of the host, which is not there; its own files are at the root.
            own = base / path.lstrip("/")
            folders += [own, *(parent for parent in own.parents if parent.is_relative_to(base))]
    return folders


def _quota(folder: Path) -> float | None:
    """Return the CPU quota set in one cgroup folder, in CPUs; None without one."""
    try:
        if (folder / "cpu.max").exists():
            limit, period = (folder / "cpu.max").read_text().split()
        else:
            limit = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return None if limit in ("max", "-1") else int(limit) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
