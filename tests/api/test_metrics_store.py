import pytest

from mms.metrics.dimension import Dimension
from mms.metrics.metric import Metric
from mms.metrics.metrics_store import MetricsStore


@pytest.fixture
def store() -> MetricsStore:
    return MetricsStore({0: "a", 1: "b"}, "m")


def only(store: MetricsStore) -> Metric:
    (metric,) = store.store
    return metric


def dimensions(metric: Metric) -> list[str]:
    return [str(dimension) for dimension in metric.dimensions]


def test_a_counter_sums_up(store: MetricsStore) -> None:
    store.add_counter("Hits", 1)
    store.add_counter("Hits", 2)
    metric = only(store)
    assert (metric.name, metric.value, metric.unit, metric.request_id) == ("Hits", 3, "Count", "a,b")


def test_another_metric_keeps_its_last_value(store: MetricsStore) -> None:
    store.add_time("Step", 12.5)
    store.add_time("Step", 3)
    assert (only(store).value, only(store).unit) == (3, "Milliseconds")


def test_request_unit_and_dimensions_tell_metrics_apart(store: MetricsStore) -> None:
    store.add_time("Step", 1)
    store.add_time("Step", 1, unit="s")
    store.add_time("Step", 1, idx=1)
    store.add_time("Step", 1, dimensions=[Dimension("Layer", "1")])
    assert [(metric.unit, metric.request_id) for metric in store.store] == [
        ("Milliseconds", "a,b"),
        ("Seconds", "a,b"),
        ("Milliseconds", "b"),
        ("Milliseconds", "a,b"),
    ]


def test_an_unknown_request_means_the_batch(store: MetricsStore) -> None:
    store.add_counter("Hits", 1, idx=99)
    assert only(store).request_id == "a,b"


def test_every_method_keeps_dimensions(store: MetricsStore) -> None:
    own = [Dimension("Color", "red")]
    store.add_counter("C", 1, dimensions=own)
    store.add_time("T", 1, dimensions=own)
    store.add_size("S", 1, dimensions=own)
    store.add_percent("P", 1, dimensions=own)
    store.add_metric("M", 1, dimensions=own)
    store.add_error("E", "text", dimensions=own)
    assert [dimensions(metric) for metric in store.store] == [
        *[["Color:red", "ModelName:m", "Level:Model"]] * 5,
        ["Color:red", "ModelName:m", "Level:Error"],
    ]
    assert len(own) == 1


def test_dimensions_must_be_a_list(store: MetricsStore) -> None:
    with pytest.raises(ValueError, match="Please provide a list of dimensions"):
        store.add_counter("C", 1, dimensions="Color:red")  # type: ignore[arg-type]


def test_units_are_checked_where_mms_checks_them(store: MetricsStore) -> None:
    with pytest.raises(ValueError, match="'ms', 's'"):
        store.add_time("T", 1, unit="hours")
    with pytest.raises(ValueError, match="'kB'"):
        store.add_size("S", 1, unit="TB")
    for unit in ("MB", "kB", "GB", "B"):
        store.add_size("S", 1, unit=unit)
    assert [metric.unit for metric in store.store] == ["Megabytes", "Kilobytes", "Gigabytes", "Bytes"]


def test_a_metric_needs_no_unit(store: MetricsStore) -> None:
    store.add_metric("Plain", 9)
    assert only(store).unit == "unit"


def test_a_metrics_own_unit_is_kept(store: MetricsStore) -> None:
    store.add_metric("Plain", 9, unit="frobs")
    assert only(store).unit == "frobs"


def test_the_unit_may_come_third_as_in_mms_docs(store: MetricsStore) -> None:
    store.add_metric("Distance", 10, "km")  # type: ignore[arg-type]
    assert (only(store).unit, only(store).request_id) == ("km", "a,b")


def test_an_error_says_what_went_wrong(store: MetricsStore) -> None:
    store.add_error("Decode", "not a JPEG")
    metric = only(store)
    assert (metric.name, metric.value, metric.unit, metric.request_id) == ("Decode", "not a JPEG", "Error", "a,b")


def test_without_requests_there_is_no_request_id() -> None:
    store = MetricsStore(None, "m")
    store.add_counter("Loads", 1)
    assert only(store).request_id is None
