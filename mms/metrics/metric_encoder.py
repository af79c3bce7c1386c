"""Handler API: metrics as JSON."""

import json

from mms.metrics.dimension import Dimension
from mms.metrics.metric import Metric


class MetricEncoder(json.JSONEncoder):
    """Write metrics and dimensions as objects: `json.dumps(context.metrics.store, cls=MetricEncoder)`."""

    def default(self, o: object) -> object:
        """Return the dict of a Metric or a Dimension."""
        if isinstance(o, Metric | Dimension):
            return o.to_dict()
        return super().default(o)
