"""Ends its process with the exit code in the body; a body without digits is answered."""

import os


def handle(data, context):
    if data is None:
        return None
    for request in data:
        if request["body"].isdigit():
            os._exit(int(request["body"]))
    return ["alive" for _ in data]
