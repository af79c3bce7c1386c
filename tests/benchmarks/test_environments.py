"""What is installed for whom, and when again."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from .environments import THIS_PYTHON, Environment, PeerMissing, of_checkout

NOTHING = Environment(name="empty", steps=())
PROJECT = """
[project]
dependencies = ["aiohttp>=3"]
[project.optional-dependencies]
mxnet = ["mxnet==1.9.1; python_version < '3.13'", "pillow>=10"]
fast = ["uvloop>=0.19"]
"""


def test_an_environment_is_made_once(tmp_path: Path) -> None:
    folder = NOTHING.installed(tmp_path)
    assert (folder / "bin" / "python").exists()
    (folder / "mine").touch()
    assert NOTHING.installed(tmp_path) == folder
    assert (folder / "mine").exists()


def test_other_contents_are_another_environment(tmp_path: Path) -> None:
    others = [replace(NOTHING, steps=(("uvloop",),)), replace(NOTHING, python="3.0"), replace(NOTHING, name="other")]
    assert len({one.folder(tmp_path) for one in (NOTHING, *others)}) == 4


def test_what_cannot_be_installed_is_missing_and_tried_again(tmp_path: Path) -> None:
    nowhere = Environment(name="nowhere", steps=((str(tmp_path / "no-such-project"),),))
    for _ in range(2):
        with pytest.raises(PeerMissing, match="could not be installed"):
            nowhere.installed(tmp_path)


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PeerMissing, match="needs Python 3.0"):
        replace(NOTHING, python="3.0").installed(tmp_path)


def test_java_is_asked_for_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PeerMissing, match="java"):
        replace(NOTHING, needs_java=True).installed(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_checkout_gets_what_it_asks_for_and_mxnet_whatever_the_python(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    plain, fast = of_checkout(tmp_path, "mxnet"), of_checkout(tmp_path, "mxnet", "fast")
    assert plain.steps == (
        ("aiohttp>=3", "mxnet==1.9.1; python_version < '3.13'", "pillow>=10"),
        ("--no-deps", "mxnet==1.9.1"),
    )
    assert fast.steps[0] == (*plain.steps[0], "uvloop>=0.19")
    assert plain.python == THIS_PYTHON == ".".join(map(str, sys.version_info[:2]))
