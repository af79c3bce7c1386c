"""Cannot be loaded: not Python."""


def handle(data, context)
    return ["never" for _ in data]
