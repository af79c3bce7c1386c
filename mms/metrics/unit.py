"""Handler API: short names of units, and what is written to the metrics log for them."""

from collections.abc import Mapping
from types import MappingProxyType

UNIT_NAMES: Mapping[str | None, str] = MappingProxyType(
    {
        "ms": "Milliseconds",
        "s": "Seconds",
        "percent": "Percent",
        "count": "Count",
        "MB": "Megabytes",
        "GB": "Gigabytes",
        "kB": "Kilobytes",
        "B": "Bytes",
        None: "unit",
    }
)


class Units:
    """MMS's form of the table: `Units().units["ms"]` is `"Milliseconds"`."""

    def __init__(self) -> None:
        self.units = dict(UNIT_NAMES)
