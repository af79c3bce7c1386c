"""Paths and queries, read as MMS reads them."""

import pytest

from mms.server.errors import BadRequestException, ResourceNotFoundException
from mms.server.http.target import Target, parse_query, parse_target


@pytest.mark.parametrize(
    ("raw", "segments"),
    [
        ("/", ()),
        ("/ping", ("ping",)),
        ("/ping/", ("ping",)),
        ("/ping///", ("ping",)),
        ("//ping", ("", "ping")),
        ("/a//b", ("a", "", "b")),
        ("/predictions/resnet", ("predictions", "resnet")),
        ("/predictions%2Fresnet", ("predictions", "resnet")),
        ("/predictions/a+b", ("predictions", "a+b")),
        ("/predictions/a%20b%2b", ("predictions", "a b+")),
        ("/predictions/gr%C3%B6%c3%9fe", ("predictions", "größe")),
        ("/predictions/%ff", ("predictions", "\ufffd")),
        ("/predictions/../ping", ("predictions", "..", "ping")),
        ("/Ping", ("Ping",)),
        ("/ping#fragment?x=1", ("ping",)),
    ],
)
def test_path_becomes_segments(raw: str, segments: tuple[str, ...]) -> None:
    assert parse_target(raw) == Target(segments, ())


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        ("a=1&b=2", [("a", "1"), ("b", "2")]),
        ("a=1;b=2", [("a", "1"), ("b", "2")]),
        ("a=x+y%2B", [("a", "x y+")]),
        ("flag", [("flag", "")]),
        ("a=", [("a", "")]),
        ("a=b=c", [("a", "b=c")]),
        ("a=1&a=2", [("a", "1"), ("a", "2")]),
        ("&&a=1&", [("a", "1")]),
        ("gr%C3%B6%C3%9Fe=%26", [("größe", "&")]),
        ("a=%ff", [("a", "\ufffd")]),
        ("=v", [("v", "")]),
    ],
)
def test_query_becomes_pairs(query: str, pairs: list[tuple[str, str]]) -> None:
    assert parse_query(query) == pairs


def test_first_of_repeated_parameters_counts() -> None:
    target = parse_target("/invocations?model_name=a&model_name=b")
    assert target.parameter("model_name") == "a"
    assert target.parameter("other") is None


@pytest.mark.parametrize("raw", ["/%", "/a%2", "/a%zz", "/ok?a=%", "/ok?%g1=x", "/ok?a=1%2"])
def test_broken_escape_is_a_bad_request(raw: str) -> None:
    with pytest.raises(BadRequestException, match="Invalid percent escape"):
        parse_target(raw)


@pytest.mark.parametrize("raw", ["*", "http://here/ping", "ping", "here:80"])
def test_target_that_is_no_path_leads_nowhere(raw: str) -> None:
    with pytest.raises(ResourceNotFoundException):
        parse_target(raw)
