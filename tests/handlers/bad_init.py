"""Cannot be loaded: initialize() raises."""


class BadInit:
    def initialize(self, context):
        raise RuntimeError("the weights are not there")

    def handle(self, data, context):
        return ["never" for _ in data]
