"""Handler API: one measured value."""

import socket
import time
from collections.abc import Sequence

from mms.metrics.dimension import Dimension
from mms.metrics.unit import UNIT_NAMES

MetricValue = int | float | str


class Metric:
    """A value with its unit, its dimensions and the request (or the batch) that it belongs to."""

    def __init__(
        self,
        name: str,
        value: MetricValue,
        unit: str | None,
        dimensions: Sequence[Dimension],
        request_id: str | None = None,
        metric_method: str | None = None,
    ) -> None:
        self.name = name
        self.unit = UNIT_NAMES.get(unit, unit)
        """As it is logged: `Milliseconds` for `ms`; a text that is not in the table is kept."""
        self.metric_method = metric_method
        """`counter` for a metric that sums up."""
        self.value = value
        self.dimensions = dimensions
        self.request_id = request_id

    def update(self, value: MetricValue) -> None:
        """Add `value` to a counter; replace the value of any other metric."""
        if self.metric_method == "counter":
            self.value += value  # type: ignore[operator]  # a handler that counts texts gets the TypeError
        else:
            self.value = value

    def __str__(self) -> str:
        dimensions = ",".join(map(str, self.dimensions))
        line = f"{self.name}.{self.unit}:{self.value}|#{dimensions}|#hostname:{socket.gethostname()},{int(time.time())}"
        return f"{line},{self.request_id}" if self.request_id else line

    def to_dict(self) -> dict[str, object]:
        """Return the metric as `MetricEncoder` writes it."""
        return {
            "MetricName": self.name,
            "Value": self.value,
            "Unit": self.unit,
            "Dimensions": self.dimensions,
            "Timestamp": int(time.time()),
            "HostName": socket.gethostname(),
            "RequestId": self.request_id,
        }
