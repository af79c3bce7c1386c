"""Results as JSON and as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict

from .figures import Goal, Spread, Values, spread
from .rows import RowResult

COLUMNS: Mapping[str, str] = {
    "requests_per_s": "answers/s",
    "good_per_s": "good answers/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "front_cpu_us": "CPU us: front",
    "worker_cpu_us": "worker",
    "client_cpu_us": "client",
    "front_mib": "MiB: front",
    "front_pss_mib": "front, PSS",
    "worker_mib": "worker",
    "worker_pss_mib": "worker, PSS",
    "parents_mib": "others",
    "start_s": "s",
    "register_s": "register s",
    "scale_s": "scale s",
    "kept_share": "share kept",
    "connection_kib": "KiB: connection",
    "queued_kib": "waiting request",
}


class GoalRecord(TypedDict):
    """A goal and what became of it."""

    goal: str
    metric: str
    spread: dict[str, float]
    """See figures.Spread; empty where somebody it needs was not there."""
    reached: bool


class RowRecord(TypedDict):
    """One row of the results file."""

    title: str
    machine: dict[str, str]
    """Where and when it was measured; see machine.describe_machine."""
    options: dict[str, float]
    samples: dict[str, list[Values]]
    failures: dict[str, str]
    goals: list[GoalRecord]


Results = dict[str, RowRecord]
"""The results file: every row by its name."""


def to_results(results: Mapping[str, RowResult], machine: dict[str, str], options: dict[str, float]) -> Results:
    """Put together what is saved."""
    return {
        name: RowRecord(
            title=result.row.title,
            machine=machine,
            options=options,
            samples=result.samples,
            failures=result.failures,
            goals=[_goal_record(goal, result.samples) for goal in result.row.goals],
        )
        for name, result in results.items()
    }


def _goal_record(goal: Goal, samples: Mapping[str, Sequence[Values]]) -> GoalRecord:
    measured = goal.measured(samples)
    return GoalRecord(
        goal=str(goal),
        metric=goal.metric,
        spread=asdict(measured) if measured is not None else {},
        reached=measured is not None and goal.reached(measured),
    )


def merged(earlier: Results, newer: Results, order: Iterable[str]) -> Results:
    """Put newer rows in the place of earlier ones; rows that are not in `order` exist no longer, and are left out."""
    both = earlier | newer
    return {name: both[name] for name in order if name in both}


def to_markdown(results: Results) -> str:
    """Write the tables."""
    return "\n\n".join([_origins(results), _goal_table(results), _figure_tables(results)]) + "\n"


def _origins(results: Results) -> str:
    """Say where, when and how the rows were measured; which ones, where they were not measured together."""
    runs: dict[str, list[str]] = {}
    for name, row in results.items():
        machine = ", ".join(f"{key} {value}" for key, value in row["machine"].items())
        options = ", ".join(f"{key} {value:g}" for key, value in row["options"].items())
        runs.setdefault(f"{machine}; {options}", []).append(name)
    if len(runs) == 1:
        return f"Measured: {next(iter(runs))}."
    return "Measured:\n\n" + "\n".join(f"- {', '.join(names)}: {run}." for run, names in runs.items())


def marks(name: str) -> tuple[str, str]:
    """Return the two comments between which a page holds what is generated; `name` says what writes it."""
    return f"<!-- written by {name} --docs: begin -->", f"<!-- written by {name} --docs: end -->"


def insert(page: Path, name: str, tables: str) -> None:
    """Replace what stands between the marks of a page; see `marks`. A page without them is a ValueError."""
    text = page.read_text()
    begin, end = marks(name)
    if begin not in text or end not in text:
        raise ValueError(f"{page} has no marks for {name}.")
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    page.write_text(f"{head}{begin}\n\n{tables}\n{end}{tail}")


def rows_shown(page: Path, name: str) -> set[str]:
    """Return the first cells of the tables between the marks of a page."""
    begin, end = marks(name)
    shown = page.read_text().partition(begin)[2].partition(end)[0]
    return {line.split("|")[1].strip() for line in shown.splitlines() if line.startswith("| ")}


def _goal_table(results: Results) -> str:
    lines = [["row", "what", "metric", "goal", "median (min to max)", "reached"]]
    for name, row in results.items():
        for goal in row["goals"]:
            figure, said = "", "not measured"
            if goal["spread"]:
                figure = _figure(Spread(**goal["spread"]))
                said = "yes" if goal["reached"] else "**no**"
            lines.append([name, row["title"], COLUMNS.get(goal["metric"], goal["metric"]), goal["goal"], figure, said])
    failures = [
        f"- {name}, {contestant}: {why.splitlines()[0][:300]}"
        for name, row in results.items()
        for contestant, why in row["failures"].items()
    ]
    failed = "\n\nWithout figures, or not with those of all rounds:\n\n" + "\n".join(failures) if failures else ""
    return table(lines) + failed


def _figure_tables(results: Results) -> str:
    """Write one table for all rows that have the same columns."""
    tables: dict[tuple[str, ...], list[list[str]]] = {}
    for name, row in results.items():
        measured = {metric for samples in row["samples"].values() for values in samples for metric in values}
        columns = tuple(metric for metric in COLUMNS if metric in measured)
        for contestant, samples in row["samples"].items():
            cells = [_cell(samples, metric) for metric in columns]
            tables.setdefault(columns, []).append([name, contestant, *cells])
    return "\n\n".join(
        table([["row", "server", *(COLUMNS[metric] for metric in columns)], *lines])
        for columns, lines in tables.items()
    )


def _cell(samples: Sequence[Values], metric: str) -> str:
    values = [one[metric] for one in samples if metric in one]
    return _figure(spread(values)) if values else ""


def _figure(measured: Spread) -> str:
    if measured.least == measured.most:
        return _number(measured.median)
    return f"{_number(measured.median)} ({_number(measured.least)} to {_number(measured.most)})"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(lines: Iterable[Sequence[str]]) -> str:
    """Write a table; its first line is the head."""
    head, *rest = lines
    rows = [head, ["---"] * len(head), *rest]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
