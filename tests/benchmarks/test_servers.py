"""Servers that are started, asked and stopped."""

import sys
from pathlib import Path

import pytest

from .models import CHECKOUT, Models
from .peers import Ours
from .servers import ServerError, Setup, running, started


def test_a_server_runs_is_measured_and_leaves_nothing_behind(tmp_path: Path) -> None:
    setup = Setup(archive=Models(tmp_path / "models").archive("noop"))
    with running(Ours(Path(sys.executable), CHECKOUT), setup, tmp_path / "ours") as server:
        assert server.predict(b"ping") == b"OK"
        server.scale(2)
        processes = [server.processes.front, *server.processes.workers]
        assert len(processes) == 3
        memory = server.processes.memory()
        assert memory["front_mib"] > memory["worker_mib"] > 0
        assert server.processes.cpu().front_s > 0
        server.unregister()
        server.register()
    assert not any(process.is_running() for process in processes)


def test_a_server_that_ends_at_once_is_an_error_with_its_words(tmp_path: Path) -> None:
    peer = Ours(Path(sys.executable), CHECKOUT)
    peer.properties = {"job_queue_size": "none"}
    setup = Setup(archive=Models(tmp_path / "models").archive("noop"))
    with started(peer, setup, tmp_path / "ours") as server, pytest.raises(ServerError, match="job_queue_size"):
        server.wait_for_ping()
