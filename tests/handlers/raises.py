"""Raises what the body names: `ValueError`, or a PredictionException as `418 short and stout`."""

import builtins

from mms.service import PredictionException


def handle(data, context):
    if data is None:
        return
    words = bytes(data[0]["body"]).decode()
    if words[:3].isdigit():
        raise PredictionException(words[4:], int(words[:3]))
    raise getattr(builtins, words)("raised on purpose")
