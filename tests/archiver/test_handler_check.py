"""What can be said about a handler without running it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model_archiver.handler_check import find_handler_problem

ONE_CLASS = "class Model:\n    class Inner: pass\n    def handle(self, data, context): pass\n"


@pytest.mark.parametrize(
    ("handler", "files"),
    [
        ("", {}),
        ("service", {"service.py": "def handle(d, c): pass"}),
        ("service.py", {"service.py": "async def handle(d, c): pass"}),
        ("service.py:predict", {"service.py": "def predict(d, c): pass"}),
        ("pkg/inner.py:run", {"pkg/inner.py": "run = print"}),
        ("pkg.inner:run", {"pkg/inner.py": "run: object = print"}),
        ("pkg:run", {"pkg/__init__.py": "from .inner import go as run"}),
        ("service", {"service.py": "try:\n    from fast import handle\nexcept ImportError:\n    pass\n"}),
        ("service", {"service.py": "from base import *"}),
        ("service", {"service.py": ONE_CLASS}),
        ("service:anything", {"service.py": ONE_CLASS}),
    ],
)
def test_good_handlers_are_left_alone(
    tree: Callable[[dict[str, str]], Path], handler: str, files: dict[str, str]
) -> None:
    assert find_handler_problem(tree(files), handler) is None


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def handel(d, c): pass", "has no function handle, and no class"),
        ("def outer():\n    def handle(d, c): pass\n", "has no function handle"),
        ("class A: pass\nclass B: pass", "and 2 classes"),
        ("def handle(:", "is not valid Python"),
        ("x = '\0'", "is not valid Python"),
    ],
)
def test_what_cannot_work_is_certain(tree: Callable[[dict[str, str]], Path], source: str, words: str) -> None:
    problem = find_handler_problem(tree({"service.py": source}), "service.py:handle")
    assert problem is not None
    assert problem.certain
    assert words in problem.message


@pytest.mark.parametrize("handler", ["nosuch:handle", "does/not/exist.py:f", ":f", "a\0b"])
def test_a_missing_module_may_come_from_elsewhere(tree: Callable[[dict[str, str]], Path], handler: str) -> None:
    problem = find_handler_problem(tree({}), handler)
    assert problem is not None
    assert not problem.certain
    assert "is not in the model path" in problem.message


def test_nothing_is_imported(tree: Callable[[dict[str, str]], Path]) -> None:
    assert find_handler_problem(tree({"service.py": "raise SystemExit('ran')\ndef handle(): pass"}), "service") is None
