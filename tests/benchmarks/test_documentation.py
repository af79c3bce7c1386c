"""What a run changes in the documentation."""

from pathlib import Path

import pytest

from .documentation import PROGRAM, Documentation
from .report import Results, insert, marks, to_markdown, to_results
from .rows import Row, RowResult

ORDER = ("idle", "echo-5m")


def measured(*names: str, on: str) -> Results:
    rows = {name: RowResult(Row(name, ""), {"ours": [{"start_s": 1.0}]}) for name in names}
    return to_results(rows, {"date": on, "processor": "a", "cores": "2"}, {})


@pytest.fixture
def page(tmp_path: Path) -> Path:
    page = tmp_path / "performance.md"
    page.write_text("\n".join(marks(PROGRAM)))
    return page


def test_rows_that_were_not_measured_stay(page: Path) -> None:
    documentation = Documentation(page.parent)
    documentation.publish(measured(*ORDER, on="monday"), ORDER)
    documentation.refuse_to_lose(ORDER, ["echo-5m"])
    documentation.publish(measured("echo-5m", on="friday"), ORDER)
    text = page.read_text()
    assert "- idle: date monday" in text
    assert "- echo-5m: date friday" in text
    assert text.index("| idle |") < text.index("| echo-5m |")


def test_rows_without_their_figures_would_be_lost(page: Path) -> None:
    insert(page, PROGRAM, to_markdown(measured(*ORDER, on="monday")))
    documentation = Documentation(page.parent)
    with pytest.raises(ValueError, match="shows rows .* performance.json: echo-5m"):
        documentation.refuse_to_lose(ORDER, ["idle"])
    documentation.refuse_to_lose(ORDER, ORDER)
    documentation.refuse_to_lose(["idle"], ["idle"])  # a row that exists no longer may go
