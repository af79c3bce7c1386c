"""Handler API: the metrics of one batch."""

from collections.abc import Iterable, Mapping

from mms.metrics.dimension import Dimension
from mms.metrics.metric import Metric, MetricValue

TIME_UNITS = ("ms", "s")
SIZE_UNITS = ("MB", "kB", "GB", "B")


class MetricsStore:
    """Record a handler's own metrics; they are written to the metrics log when the batch is done.

    A metric belongs to request `idx` of the batch, or, without `idx`, to all of them::

        from mms.metrics.dimension import Dimension

        context.metrics.add_counter("Faces", 2, idx=0)
        context.metrics.add_time("Preprocess", 12.5, unit="ms")
        context.metrics.add_size("Image", 48, unit="kB", dimensions=[Dimension("Format", "jpeg")])

    Recording the same name, unit, request and dimensions again adds to a counter and replaces any other metric.
    """

    def __init__(self, request_ids: Mapping[int, str] | str | None, model_name: str) -> None:
        self.store: list[Metric] = []
        self.request_ids = request_ids
        self.model_name = model_name
        self.cache: dict[tuple[str | None, ...], Metric] = {}

    def add_counter(
        self, name: str, value: int, idx: int | None = None, dimensions: Iterable[Dimension] | None = None
    ) -> None:
        """Add `value` to the counter `name`."""
        self._record(name, value, "count", self._request_id(idx), self._dimensions(dimensions), method="counter")

    def add_time(
        self,
        name: str,
        value: float,
        idx: int | None = None,
        unit: str = "ms",
        dimensions: Iterable[Dimension] | None = None,
    ) -> None:
        """Record a time in `ms` or `s`; ValueError for another unit."""
        if unit not in TIME_UNITS:
            raise ValueError(f"the unit for a timed metric should be one of {list(TIME_UNITS)}")
        self._record(name, value, unit, self._request_id(idx), self._dimensions(dimensions))

    def add_size(
        self,
        name: str,
        value: float,
        idx: int | None = None,
        unit: str = "MB",
        dimensions: Iterable[Dimension] | None = None,
    ) -> None:
        """Record a size in `MB`, `kB`, `GB` or `B`; ValueError for another unit."""
        if unit not in SIZE_UNITS:
            raise ValueError(f"The unit for size based metric is one of {list(SIZE_UNITS)}")
        self._record(name, value, unit, self._request_id(idx), self._dimensions(dimensions))

    def add_percent(
        self, name: str, value: float, idx: int | None = None, dimensions: Iterable[Dimension] | None = None
    ) -> None:
        """Record a percentage."""
        self._record(name, value, "percent", self._request_id(idx), self._dimensions(dimensions))

    def add_error(self, name: str, value: str, dimensions: Iterable[Dimension] | None = None) -> None:
        """Record a text that says what went wrong. It has the unit `Error` and the dimension `Level:Error`."""
        self._record(name, value, "Error", self._request_id(None), self._dimensions(dimensions, level="Error"))

    def add_metric(
        self,
        name: str,
        value: MetricValue,
        idx: int | None = None,
        unit: str | None = None,
        dimensions: Iterable[Dimension] | None = None,
    ) -> None:
        """Record a value in any unit; a unit that is not one of MMS's short names is logged as it is."""
        if isinstance(idx, str) and unit is None:
            # MMS: the example of docs/metrics.md gives the unit as the third argument.
            idx, unit = None, idx
        self._record(name, value, unit, self._request_id(idx), self._dimensions(dimensions))

    def _request_id(self, idx: int | None) -> str | None:
        ids = self.request_ids
        if ids is None or isinstance(ids, str):
            return ids
        if idx is not None and idx in ids:
            return ids[idx]
        return ",".join(ids.values())

    def _dimensions(self, own: Iterable[Dimension] | None, *, level: str = "Model") -> list[Dimension]:
        if own is None:
            own = ()
        elif not isinstance(own, list | tuple):
            raise ValueError("Please provide a list of dimensions")
        return [*own, Dimension("ModelName", self.model_name), Dimension("Level", level)]

    def _record(
        self,
        name: str,
        value: MetricValue,
        unit: str | None,
        request_id: str | None,
        dimensions: list[Dimension],
        *,
        method: str | None = None,
    ) -> None:
        key = (name, unit, request_id, *map(str, dimensions))
        known = self.cache.get(key)
        if known is not None:
            known.update(value)
            return
        metric = Metric(name, value, unit, dimensions, request_id, method)
        self.cache[key] = metric
        self.store.append(metric)
