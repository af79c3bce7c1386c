from mms.metrics.unit import UNIT_NAMES, Units


def test_the_table_is_that_of_mms() -> None:
    assert Units().units == {
        "ms": "Milliseconds",
        "s": "Seconds",
        "percent": "Percent",
        "count": "Count",
        "MB": "Megabytes",
        "GB": "Gigabytes",
        "kB": "Kilobytes",
        "B": "Bytes",
        None: "unit",
    }


def test_a_handler_that_edits_its_copy_changes_nothing_else() -> None:
    Units().units["ms"] = "other"
    assert UNIT_NAMES["ms"] == "Milliseconds"
