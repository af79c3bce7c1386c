"""Host metrics at regular times. Runs in the front process."""

import asyncio
import logging
from collections.abc import Callable

import psutil

from mms.server.config import Config
from mms.server.logs import Logs

logger = logging.getLogger(__name__)

_GB = 1024**3
_MB = 1024**2


class Monitor:
    """Writes the host metrics of MMS to mms_metrics.log every `metric_time_interval` seconds.

    `on_tick` is called each time as well, in a thread: the owner's own periodic reading, such as the memory of workers.
    """

    def __init__(self, config: Config, logs: Logs, on_tick: Callable[[], None]) -> None:
        self._interval_s = config.metric_time_interval
        self._logs = logs
        self._on_tick = on_tick

    async def run(self) -> None:
        """Measure at once and then regularly, until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self._tick)
            except (OSError, psutil.Error):
                # A process that ended meanwhile, or a /proc that is not allowed: the next time may go well.
                logger.warning("Host metrics could not be read.", exc_info=True)
            await asyncio.sleep(self._interval_s)

    def _tick(self) -> None:
        for name, unit, value in host_metrics():
            self._logs.metric(name, unit, value)
        self._on_tick()


def host_metrics() -> list[tuple[str, str, float]]:
    """Return name, unit and value of each metric; those of the disk are for the root file system.

    CPUUtilization is the mean since the last call in this process, and over 0.1 s in the first.
    Same names, units and order as MMS: mms/metrics/system_metrics.py.
    """
    # psutil compares with its own last reading, of which there is none at first: it would say 0.
    cpu = psutil.cpu_percent(interval=None) or psutil.cpu_percent(interval=0.1)
    memory = psutil.virtual_memory()
    usage = psutil.disk_usage("/")
    return [
        ("CPUUtilization", "Percent", cpu),
        ("DiskAvailable", "Gigabytes", usage.free / _GB),
        ("DiskUsage", "Gigabytes", usage.used / _GB),
        ("DiskUtilization", "Percent", usage.percent),
        ("MemoryAvailable", "Megabytes", memory.available / _MB),
        ("MemoryUsed", "Megabytes", memory.used / _MB),
        ("MemoryUtilization", "Percent", memory.percent),
    ]
