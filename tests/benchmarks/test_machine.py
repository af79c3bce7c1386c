"""Where something was measured."""

from .machine import describe_machine


def test_a_reader_learns_what_the_figures_depend_on() -> None:
    machine = describe_machine()
    assert int(machine["cores"]) >= 1
    assert machine["memory"].endswith("GiB")
    assert all(machine.values())
