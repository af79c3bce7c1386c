"""A handler in the form of a class."""


class Counter:
    def __init__(self):
        self.name = None
        self.calls = 0

    def initialize(self, context):
        self.name = context.model_name
        context.metrics.add_counter("Loads", 1)

    def handle(self, data, context):
        self.calls += 1
        return [{"model": self.name, "calls": self.calls, "batch": len(data)} for _ in data]
