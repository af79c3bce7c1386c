"""Who takes part."""

import sys
from pathlib import Path

import pytest

from .entrants import Places, find_peers
from .peers import Ours


def test_peers_come_in_the_order_in_which_they_were_named(tmp_path: Path) -> None:
    places = Places(cache=tmp_path, python=Path(sys.executable), mms_venv=tmp_path)
    found = find_peers(["mms-tuned", "ours", "mms", "aiohttp"], places, report=pytest.fail)
    assert [peer.name for peer in found] == ["mms-tuned", "ours", "mms", "aiohttp"]


def test_another_checkout_takes_part_where_it_is_given(tmp_path: Path) -> None:
    places = Places(cache=tmp_path, python=Path(sys.executable), before=tmp_path)
    ours, before = find_peers(["ours"], places, report=pytest.fail)
    assert isinstance(before, Ours)
    assert (ours.name, before.name, before.checkout) == ("ours", "before", tmp_path)


def test_a_peer_that_is_missing_is_reported_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    places = Places(cache=tmp_path, python=Path(sys.executable))
    said: list[str] = []
    found = find_peers(["ours", "mms", "torchserve"], places, report=said.append)
    assert [peer.name for peer in found] == ["ours"]
    assert [text.partition(":")[0] for text in said] == ["Without mms", "Without torchserve"]
    assert "apt-get install" in said[0]


def test_an_unknown_peer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No peer is called tomcat"):
        find_peers(["ours", "tomcat"], Places(cache=tmp_path), report=pytest.fail)
