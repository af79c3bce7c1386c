"""Counting GPUs with made-up nvidia-smi programs and CPUs with made-up cgroup folders."""

import os
from pathlib import Path

import pytest

from mms.server.config.hardware import count_cpus, count_gpus


def nvidia_smi(folder: Path, script: str) -> dict[str, str]:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}/bin{os.pathsep}/usr/bin"}


def test_no_nvidia_smi_means_no_gpu(tmp_path: Path) -> None:
    assert count_gpus({"PATH": str(tmp_path)}) == 0


def test_every_listed_gpu_counts(tmp_path: Path) -> None:
    assert count_gpus(nvidia_smi(tmp_path, "printf '0\\n1\\n2\\n'")) == 3


def test_a_driver_that_does_not_run_means_no_gpu(tmp_path: Path) -> None:
    assert count_gpus(nvidia_smi(tmp_path, "echo 'NVIDIA-SMI has failed'; exit 9")) == 0
    assert count_gpus(nvidia_smi(tmp_path, "echo 'No devices were found'")) == 0


def test_a_program_that_cannot_be_run_means_no_gpu(tmp_path: Path) -> None:
    environ = nvidia_smi(tmp_path, "")
    (tmp_path / "nvidia-smi").write_bytes(b"\x7fELF broken")
    assert count_gpus(environ) == 0


@pytest.mark.parametrize(("visible", "expected"), [("0,2", 2), ("", 0), ("-1", 0), ("1,-1,2", 1), ("0,1,2,3,4", 3)])
def test_cuda_visible_devices_hides_gpus(tmp_path: Path, visible: str, expected: int) -> None:
    environ = nvidia_smi(tmp_path, "printf '0\\n1\\n2\\n'") | {"CUDA_VISIBLE_DEVICES": visible}
    assert count_gpus(environ) == expected


def available() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpus(root: Path, cgroup: str) -> int:
    membership = root / "membership"
    membership.write_text(cgroup)
    return count_cpus(cgroup_root=root, process_cgroup=membership)


def test_without_cgroups_the_affinity_counts(tmp_path: Path) -> None:
    assert count_cpus(cgroup_root=tmp_path, process_cgroup=tmp_path / "nothing") == available()


def test_v2_quota_of_a_parent_limits(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "a" / "b" / "cpu.max").write_text("max 100000\n")
    assert cpus(tmp_path, "0::/a/b\n") == 1


def test_v2_quota_rounds_up(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert cpus(tmp_path, "0::/\n") == min(2, available())


def test_v2_path_of_the_host_falls_back_to_the_root(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("10000 100000\n")
    assert cpus(tmp_path, "0::/docker/0123\n") == 1


def test_v1_quota_limits_and_minus_one_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "cpu,cpuacct" / "x"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    assert cpus(tmp_path, "4:cpu,cpuacct:/x\n3:memory:/y\n") == available()
    (folder / "cpu.cfs_quota_us").write_text("100000\n")
    assert cpus(tmp_path, "4:cpu,cpuacct:/x\n3:memory:/y\n") == 1


def test_unreadable_quota_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("what\n")
    assert cpus(tmp_path, "0::/\n") == available()
