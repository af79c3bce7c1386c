"""How each server is started."""

from pathlib import Path

import pytest

from .peers import BareAiohttp, Launch, Ours, Peer, RealMMS


def launch(folder: Path, *models: str) -> Launch:
    return Launch(folder=folder, port=20000, answer="noop", store=folder / "store", startup_models=models)


@pytest.mark.parametrize("peer", [Ours(Path("py"), Path("/checkout")), RealMMS(Path("/venv"))])
def test_models_to_load_at_the_start_are_on_the_command_line(peer: Peer, tmp_path: Path) -> None:
    assert "--models" not in peer.command(launch(tmp_path))
    command = peer.command(launch(tmp_path, "bench=noop.mar"))
    assert command[-4:] == ["--model-store", str(tmp_path / "store"), "--models", "bench=noop.mar"]


def test_the_tuned_mms_logs_nothing(tmp_path: Path) -> None:
    peer = RealMMS(Path("/venv"), tuned=True)
    assert peer.command(launch(tmp_path))[-2:] == ["--log-config", "log4j2.xml"]
    assert 'level="off"' in (tmp_path / "log4j2.xml").read_text()
    assert peer.properties == {"async_logging": "true"}


def test_no_server_sees_the_settings_of_this_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "MMS_CONFIG_FILE", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "foreign")
    peers: list[Peer] = [Ours(Path("py"), Path("/checkout")), RealMMS(Path("/venv")), BareAiohttp(Path("py"))]
    for peer in peers:
        assert "foreign" not in peer.environment().values()
