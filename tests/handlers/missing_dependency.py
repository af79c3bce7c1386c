"""Cannot be loaded: imports a package that is not installed."""

import a_package_that_nobody_has


def handle(data, context):
    return [a_package_that_nobody_has.answer for _ in data]
