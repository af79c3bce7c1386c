"""Returns one result too many."""


def handle(data, context):
    return [] if data is None else ["one too many"] * (len(data) + 1)
