"""Answers with what it was given: names, types and values of the inputs, and the request's headers."""


def _shown(value):
    return bytes(value).decode("latin-1") if isinstance(value, bytes | bytearray) else value


def handle(data, context):
    if data is None:
        return None
    return [
        {
            "inputs": {name: [type(value).__name__, _shown(value)] for name, value in request.items()},
            "headers": context.get_all_request_header(idx),
        }
        for idx, request in enumerate(data)
    ]
