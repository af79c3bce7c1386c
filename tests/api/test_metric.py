import re
import socket

from mms.metrics.dimension import Dimension
from mms.metrics.metric import Metric


def test_a_metric_reads_as_mms_logs_it() -> None:
    metric = Metric("Step", 12.5, "ms", [Dimension("A", "b"), Dimension("Level", "Model")], "r-1")
    hostname = re.escape(socket.gethostname())
    assert re.fullmatch(rf"Step\.Milliseconds:12\.5\|#A:b,Level:Model\|#hostname:{hostname},\d+,r-1", str(metric))


def test_without_a_request_the_line_ends_with_the_time() -> None:
    assert re.fullmatch(r".*\|#hostname:[^,]+,\d+", str(Metric("Step", 1, "s", [])))


def test_a_counter_adds_and_others_replace() -> None:
    counter, gauge = Metric("C", 1, "count", [], None, "counter"), Metric("G", 1, "count", [])
    counter.update(2)
    gauge.update(2)
    assert (counter.value, gauge.value) == (3, 2)
