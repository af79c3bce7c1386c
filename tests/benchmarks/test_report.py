"""The tables."""

from pathlib import Path

import pytest

from .figures import Goal
from .report import insert, marks, to_markdown, to_results
from .rows import Row, RowResult

ROW = Row("noop-1", "no-op, 1 client", (Goal(metric="requests_per_s", against="mms", at_least=1.6),))


def result() -> RowResult:
    return RowResult(
        ROW,
        samples={
            "ours": [{"requests_per_s": 3000.0}, {"requests_per_s": 3300.0}, {"requests_per_s": 3600.0}],
            "mms": [{"requests_per_s": 1000.0}] * 3,
        },
        failures={"aiohttp": "did not start\nand more"},
    )


def test_the_table_shows_goals_figures_and_failures() -> None:
    tables = to_markdown(to_results({"noop-1": result()}, {"cores": "2"}, {"rounds": 3}))
    assert "| noop-1 | no-op, 1 client | answers/s | at least 1.6 x mms | 3.3 (3 to 3.6) | yes |" in tables
    assert "| noop-1 | ours | 3300 (3000 to 3600) |" in tables
    assert "- noop-1, aiohttp: did not start\n" in tables
    assert "Measured: cores 2; rounds 3." in tables


def test_a_goal_that_is_missed_stands_out() -> None:
    missed = result()
    missed.samples["ours"] = [{"requests_per_s": 1000.0}]
    assert "| **no** |" in to_markdown(to_results({"noop-1": missed}, {}, {}))


def test_the_tables_replace_what_was_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    begin, end = marks("program")
    page.write_text(f"# Before\n\n{begin}\nold\n{end}\n\nAfter\n")
    for _ in range(2):
        insert(page, "program", "new\n")
        assert page.read_text() == f"# Before\n\n{begin}\n\nnew\n\n{end}\n\nAfter\n"


def test_a_page_without_marks_stays_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Before\n")
    with pytest.raises(ValueError, match="no marks"):
        insert(page, "program", "new\n")
    assert page.read_text() == "# Before\n"
