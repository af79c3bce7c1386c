"""Which names an archive may hold."""

from pathlib import PurePosixPath

import pytest

from model_archiver.entry_names import EntryNames
from model_archiver.errors import InvalidModelException


@pytest.mark.parametrize(
    ("name", "path"), [("a", "a"), ("./a//b", "a/b"), ("a/b c/\u00e9.py", "a/b c/\u00e9.py"), ("a..b/..c", "a..b/..c")]
)
def test_plain_names_become_relative_paths(name: str, path: str) -> None:
    assert EntryNames().add_file(name) == PurePosixPath(path)


@pytest.mark.parametrize(
    "name",
    [
        *("../a", "a/../../b", "a/..", ".."),
        *("/etc/passwd", "//server/x", "C:/x", "c:x"),
        *("a\\b", "a\0b", "", ".", "./"),
        *("\udcff", "x" * 256, "a/" * 600 + "b"),
    ],
)
def test_dangerous_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidModelException, match="Archive entry "):
        EntryNames().add_file(name)


@pytest.mark.parametrize("name", ["../a/", "/a/", "a/../"])
def test_dangerous_folders_are_refused(name: str) -> None:
    with pytest.raises(InvalidModelException):
        EntryNames().add_folder(name)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a", "a"),
        ("a", "./a"),
        ("Readme", "README"),
        ("a/x", "A/y"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("stra\u00dfe", "STRASSE"),
        ("\u00e9", "e\u0301"),
    ],
)
def test_collisions_are_refused(first: str, second: str) -> None:
    names = EntryNames()
    names.add_file(first)
    with pytest.raises(InvalidModelException, match="collides with"):
        names.add_file(second)


def test_a_folder_may_come_twice_but_not_where_a_file_is() -> None:
    names = EntryNames()
    names.add_folder("a/")
    names.add_folder("a/")
    names.add_file("a/b")
    with pytest.raises(InvalidModelException, match="collides with"):
        names.add_folder("a/b/")
