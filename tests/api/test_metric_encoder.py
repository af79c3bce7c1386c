import json

import pytest

from mms.metrics.dimension import Dimension
from mms.metrics.metric import Metric
from mms.metrics.metric_encoder import MetricEncoder


def test_metrics_and_dimensions_become_objects() -> None:
    decoded = json.loads(json.dumps([Metric("Step", 1, "ms", [Dimension("A", "b")], "r")], cls=MetricEncoder))[0]
    assert {key: decoded[key] for key in ("MetricName", "Value", "Unit", "Dimensions", "RequestId")} == {
        "MetricName": "Step",
        "Value": 1,
        "Unit": "Milliseconds",
        "Dimensions": [{"Name": "A", "Value": "b"}],
        "RequestId": "r",
    }
    assert {"Timestamp", "HostName"} <= decoded.keys()


def test_other_objects_are_refused_as_by_json() -> None:
    with pytest.raises(TypeError):
        json.dumps(object(), cls=MetricEncoder)
