"""Host metrics, of this host."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mms.server.config import Config
from mms.server.logs import Logs
from mms.server.monitor import Monitor, host_metrics

NAMES = [
    *("CPUUtilization.Percent", "DiskAvailable.Gigabytes", "DiskUsage.Gigabytes", "DiskUtilization.Percent"),
    *("MemoryAvailable.Megabytes", "MemoryUsed.Megabytes", "MemoryUtilization.Percent"),
]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(log_location=tmp_path, metrics_location=tmp_path, metric_time_interval=1)


@pytest.fixture
def logs(config: Config) -> Iterator[Logs]:
    one = Logs(config)
    yield one
    one.close()


def test_values_are_plausible() -> None:
    values = {name: value for name, _, value in host_metrics()}
    assert all(0 <= value <= 100 for name, value in values.items() if name.endswith("Utilization"))
    assert values["MemoryAvailable"] > 1
    assert values["DiskAvailable"] > 0


async def run_twice(config: Config, logs: Logs, on_tick: Callable[[], None]) -> None:
    """Run a monitor until its second tick is under way."""
    loop, ticks, second = asyncio.get_running_loop(), [0], asyncio.Event()

    def tick() -> None:
        ticks[0] += 1
        if ticks[0] == 2:
            loop.call_soon_threadsafe(second.set)
        on_tick()

    task = asyncio.create_task(Monitor(config, logs, tick).run())
    await asyncio.wait_for(second.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_first_run_is_at_once_and_then_again(tmp_path: Path, config: Config, logs: Logs) -> None:
    threads: list[threading.Thread] = []
    await run_twice(config, logs, lambda: threads.append(threading.current_thread()))
    await asyncio.to_thread(logs.close)
    lines = (tmp_path / "mms_metrics.log").read_text().splitlines()
    found = [line.split(" - ")[1].split(":")[0] for line in lines]
    assert found[:14] == NAMES * 2
    assert threading.main_thread() not in threads


async def test_a_failure_is_logged_and_does_not_end_it(config: Config, logs: Logs) -> None:
    def fail() -> None:
        raise ProcessLookupError("gone")

    await run_twice(config, logs, fail)
    logs.flush()
    assert "Host metrics could not be read." in (config.log_location / "mms_log.log").read_text()
