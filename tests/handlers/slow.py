"""Takes as many seconds as the body says."""

import time


def handle(data, context):
    if data is None:
        return None
    for request in data:
        time.sleep(float(bytes(request["body"])))
    return ["slept" for _ in data]
