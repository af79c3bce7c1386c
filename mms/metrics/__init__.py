"""Handler API: the metrics that a handler records through `context.metrics`. Both processes import it."""

from mms.metrics import dimension, metric, metric_encoder, metrics_store, unit

__all__ = ["dimension", "metric", "metric_encoder", "metrics_store", "unit"]
