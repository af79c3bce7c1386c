"""The plots."""

from pathlib import Path

import pytest

from .catalogue import ALL
from .plots import NAMES, PERCENTILES, STYLES, draw, noop_series
from .report import Results, to_results
from .rows import Row, RowResult


def results(name: str = "noop") -> Results:
    values = {"requests_per_s": 1000.0} | dict.fromkeys(PERCENTILES, 2.0)
    rows = {f"{name}-{clients}": RowResult(Row("", ""), {"ours": [values, values]}) for clients in (1, 8, 32)}
    return to_results(rows, {"processor": "a", "cores": "2", "date": "today"}, {})


def test_everybody_in_the_no_op_rows_has_a_look_of_its_own() -> None:
    assert set(NAMES) == set(STYLES) == set(ALL)
    assert len(set(STYLES.values())) == len(STYLES)


def test_series_are_taken_from_the_no_op_rows() -> None:
    series = noop_series(results())
    assert sorted(series["ours"]) == [1, 8, 32]
    assert series["ours"][8]["requests_per_s"] == [1000.0, 1000.0]


def test_without_no_op_rows_nothing_is_drawn(tmp_path: Path) -> None:
    assert draw(results("batch"), tmp_path) == []


@pytest.mark.filterwarnings("default")  # matplotlib's own
def test_both_plots_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for path in draw(results(), tmp_path):
        assert path.read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 2
