"""How each server is started."""

from pathlib import Path

import pytest

from .models import HANDLERS
from .other_peers import LitServe, TorchServe
from .peers import PORTS_EACH, BareAiohttp, Launch, Ours, Peer, RealMMS


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


def test_litserve_runs_the_same_handler(tmp_path: Path) -> None:
    command = LitServe(Path("/venv")).command(launch(tmp_path))
    assert Path(command[-1]).read_text() == HANDLERS["noop"]


def test_torchserve_packs_the_same_handler_and_keeps_to_its_ports(tmp_path: Path) -> None:
    archiver = tmp_path / "venv" / "bin" / "torch-model-archiver"
    archiver.parent.mkdir(parents=True)
    archiver.write_text('#!/bin/sh\necho "$@" > packed\n')
    archiver.chmod(0o755)
    (tmp_path / "config.properties").write_text("job_queue_size=1000\n")
    command = TorchServe(tmp_path / "venv").command(launch(tmp_path))
    assert command[-2:] == ["--model-store", str(tmp_path / "store")]
    assert f"--handler {tmp_path / 'noop.py'}" in (tmp_path / "packed").read_text()
    assert (tmp_path / "noop.py").read_text() == HANDLERS["noop"]
    settings = (tmp_path / "torchserve.properties").read_text()
    assert settings.startswith("job_queue_size=1000\n")
    ports = {int(line.rpartition(":")[2].rpartition("=")[2]) for line in settings.splitlines()[1:]}
    assert ports == {20002, 20003, 20004}
    assert max(ports) < 20000 + PORTS_EACH


def test_no_server_sees_the_settings_of_this_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "MMS_CONFIG_FILE", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "foreign")
    peers: list[Peer] = [Ours(Path("py"), Path("/checkout")), RealMMS(Path("/venv")), BareAiohttp(Path("py"))]
    for peer in [*peers, TorchServe(Path("/venv")), LitServe(Path("/venv"))]:
        assert "foreign" not in peer.environment().values()
