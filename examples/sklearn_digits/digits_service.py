"""Read handwritten digits with a scikit-learn model. Runs in a worker process.

The server needs no function here: it finds the one class, makes an instance and calls `initialize`, then `handle`. A
request is `{"pixels": [...]}`, the 64 pixels of an 8 x 8 picture row by row, 0 (white) to 16 (black).
"""

from pathlib import Path
from typing import Any

import joblib
import numpy as np

from mms.context import Context


class DigitsService:
    """Answer a batch with one call of the model."""

    def initialize(self, context: Context) -> None:
        """Load the model. joblib files can run code: load none that you did not make or trust."""
        self.model = joblib.load(Path(context.system_properties["model_dir"], "digits.joblib"))

    def handle(self, data: list[dict[str, Any]], context: Context) -> list[Any]:
        """Read the digits; a request without 64 numbers gets a 400 for itself alone."""
        pictures = {index: _pixels(request.get("body")) for index, request in enumerate(data)}
        good = {index: pixels for index, pixels in pictures.items() if pixels is not None}
        rows = self.model.predict_proba(np.stack(list(good.values()))) if good else []
        readings = dict(zip(good, rows, strict=True))
        return [
            _describe(readings[index]) if index in readings else _refuse(context, index) for index in range(len(data))
        ]


def _pixels(body: Any) -> Any:
    try:
        pixels = np.asarray(body["pixels"], np.float64)
    except (TypeError, KeyError, ValueError):
        return None
    return pixels if pixels.shape == (64,) and np.isfinite(pixels).all() else None


def _describe(probabilities: Any) -> dict[str, Any]:
    digit = int(probabilities.argmax())
    return {"digit": digit, "probability": round(float(probabilities[digit]), 4)}


def _refuse(context: Context, index: int) -> dict[str, Any]:
    context.set_response_status(400, "Bad Request", index)
    return {"error": 'Send {"pixels": [...]} with 64 numbers'}
