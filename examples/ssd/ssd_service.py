"""Find objects in images with an SSD. Runs in a worker process. Handler: `ssd_service:handle`."""

from typing import Any

from mxnet_vision_service import MXNetVisionService

from mms.context import Context

THRESHOLD = 0.5
"""Detections that are less sure are left out."""


class SSDService(MXNetVisionService):
    """Answer each image with what is in it and where, the surest first, in pixels of the client's image.

    The network's output is that of MXNet's `MultiBoxDetection`: for each image and box the class (-1 for nothing), the
    score, and the left, top, right and bottom edge as a fraction of the image.
    """

    def preprocess(self, batch: list[dict[str, Any]]) -> list[Any]:
        """Decode and resize the images, and remember how large they were."""
        self.sizes: list[tuple[int, int]] = []
        return super().preprocess(batch)

    def transform(self, picture: Any) -> Any:
        """Resize an image to what the network reads."""
        height, width, _ = picture.shape
        self.sizes.append((width, height))
        return super().transform(picture)

    def postprocess(self, inference_output: list[Any]) -> list[Any]:
        """List the detections of each image."""
        return [
            [
                self._describe(detection, size)
                for detection in detections
                if detection[0] >= 0 and detection[1] > THRESHOLD
            ]
            for detections, size in zip(inference_output[0].asnumpy(), self.sizes, strict=True)
        ]

    def _describe(self, detection: Any, size: tuple[int, int]) -> dict[str, Any]:
        number, score, *edges = detection.tolist()
        box = [round(min(max(edge, 0), 1) * length) for edge, length in zip(edges, size * 2, strict=True)]
        name = self.labels[int(number)] if self.labels else str(int(number))
        return {"class": name, "score": round(score, 4), "box": box}


_service = SSDService()


def handle(data: list[dict[str, Any]] | None, context: Context) -> list[Any] | None:
    """Load the model on the first call, which has no data, then look at each batch of images."""
    if not _service.initialized:
        _service.initialize(context)
    return None if data is None else _service.handle(data, context)
