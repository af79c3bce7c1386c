"""Serve the hybrid AlexNet. Runs in a worker process. Handler: `gluon_hybrid_alexnet:handle`."""

from typing import Any

from alexnet import HybridAlexNet
from gluon_base_service import GluonBaseService
from mxnet_utils.signature import load_labels

from mms.context import Context


class HybridAlexNetService(GluonBaseService):
    """Classify drawings of shapes. All but the network comes from the template."""

    def initialize(self, context: Context) -> None:
        """Build the network for as many classes as synset.txt names; the template fills it from the file."""
        labels = load_labels(context.system_properties["model_dir"]) or []
        self.net = HybridAlexNet(len(labels))
        self.param_filename = "alexnet.params"
        super().initialize(context)


_service = HybridAlexNetService()


def handle(data: list[dict[str, Any]] | None, context: Context) -> list[Any] | None:
    """Load the model on the first call, which has no data, then classify each batch of images."""
    if not _service.initialized:
        _service.initialize(context)
    return None if data is None else _service.handle(data, context)
