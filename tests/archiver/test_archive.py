"""Writing archives in the three formats and reading their manifests."""

import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from model_archiver.archive import (
    ArchiveFile,
    extract,
    read_manifest,
    write_dir,
    write_manifest,
    write_mar,
    write_tgz,
)
from model_archiver.errors import InvalidModelException
from model_archiver.manifest import MANIFEST_PATH, Manifest, Model, default_manifest

THE_MANIFEST = Manifest(model=Model(name="m", handler="service:handle"))

Write = Callable[[Path, list[ArchiveFile], Manifest], None]


def write_m_tgz(target: Path, files: list[ArchiveFile], manifest: Manifest) -> None:
    write_tgz(target, files, manifest, folder="m")


def files_of(model: Path) -> list[ArchiveFile]:
    return [ArchiveFile(path.relative_to(model).as_posix(), path) for path in model.rglob("*") if path.is_file()]


@pytest.mark.parametrize("write", [write_mar, write_m_tgz])
def test_what_is_written_can_be_unpacked(model: Path, out: Path, write: Write) -> None:
    write(out / "m", files_of(model), THE_MANIFEST)
    extract(out / "m", out / "to")
    assert (out / "to/weights.bin").read_bytes() == (model / "weights.bin").read_bytes()
    assert (out / "to/sub/inner.py").read_text() == "X = 1\n"
    assert read_manifest(out / "to") == THE_MANIFEST


@pytest.mark.parametrize("write", [write_mar, write_m_tgz])
def test_the_same_files_give_the_same_bytes(model: Path, out: Path, write: Write) -> None:
    write(out / "first", files_of(model), THE_MANIFEST)
    for path in model.rglob("*"):
        os.utime(path, (1, 1))
    (model / "weights.bin").chmod(0o640)
    write(out / "second", files_of(model)[::-1], THE_MANIFEST)
    assert (out / "first").read_bytes() == (out / "second").read_bytes()


def test_tar_names_no_user_and_no_time(model: Path, out: Path) -> None:
    (model / "service.py").chmod(0o750)
    write_m_tgz(out / "m.tar.gz", files_of(model), THE_MANIFEST)
    with tarfile.open(out / "m.tar.gz") as archive:
        members = archive.getmembers()
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
    assert {m.name: m.mode for m in members} == {
        "m/service.py": 0o755,
        "m/sub/inner.py": 0o644,
        "m/weights.bin": 0o644,
        f"m/{MANIFEST_PATH}": 0o644,
    }


def test_zip_is_deflated_and_keeps_the_execute_bit(model: Path, out: Path) -> None:
    (model / "service.py").chmod(0o700)
    write_mar(out / "m.mar", files_of(model), THE_MANIFEST)
    with zipfile.ZipFile(out / "m.mar") as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_DEFLATED}
        assert archive.getinfo("service.py").external_attr >> 16 == 0o100755
    extract(out / "m.mar", out / "to")
    assert os.access(out / "to/service.py", os.X_OK)


@pytest.mark.parametrize("write", [write_mar, write_m_tgz, write_dir])
def test_a_failure_leaves_the_older_archive_alone(model: Path, out: Path, write: Write) -> None:
    target = out / "m"
    write(target, files_of(model), THE_MANIFEST)
    before = sorted(out.rglob("*"))
    gone = ArchiveFile("zzz", model / "no-such-file")
    with pytest.raises(FileNotFoundError):
        write(target, [*files_of(model), gone], THE_MANIFEST)
    assert sorted(out.rglob("*")) == before


@pytest.mark.parametrize("write", [write_mar, write_m_tgz, write_dir])
def test_ctrl_c_leaves_nothing_behind(model: Path, out: Path, write: Callable[..., None]) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    arguments = {"folder": "m"} if write is write_m_tgz else {}
    if write is write_m_tgz:
        write = write_tgz
    with pytest.raises(KeyboardInterrupt):
        write(out / "m", files_of(model), THE_MANIFEST, progress=interrupt, **arguments)
    assert list(out.iterdir()) == []


def test_archives_are_readable_by_others_as_far_as_the_umask_lets(model: Path, out: Path) -> None:
    previous = os.umask(0o027)
    try:
        write_mar(out / "m.mar", files_of(model), THE_MANIFEST)
    finally:
        os.umask(previous)
    assert (out / "m.mar").stat().st_mode & 0o777 == 0o640


def test_a_link_to_an_archive_stays_a_link(model: Path, out: Path) -> None:
    (out / "real.mar").write_bytes(b"old")
    (out / "m.mar").symlink_to("real.mar")
    write_mar(out / "m.mar", files_of(model), THE_MANIFEST)
    assert (out / "m.mar").is_symlink()
    assert zipfile.is_zipfile(out / "real.mar")


def test_folder_is_replaced_as_a_whole(model: Path, out: Path) -> None:
    write_dir(out / "m", files_of(model), THE_MANIFEST)
    (model / "weights.bin").unlink()
    write_dir(out / "m", files_of(model), THE_MANIFEST)
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == [
        "m/MAR-INF/MANIFEST.json",
        "m/service.py",
        "m/sub/inner.py",
    ]


def test_progress_ends_at_the_total(model: Path, out: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_mar(out / "m.mar", files_of(model), THE_MANIFEST, progress=lambda done, total: seen.append((done, total)))
    size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    assert seen[-1] == (size, size)


def test_manifest_of_mar_inf_wins_over_a_legacy_one(model: Path) -> None:
    (model / "MANIFEST.json").write_text('{"Model": {"Service": "old.py", "Model-Name": "old"}}')
    assert read_manifest(model).model.name == "old"
    write_manifest(model, THE_MANIFEST)
    assert read_manifest(model).model.name == "m"


def test_without_any_manifest_the_default_is_read(model: Path) -> None:
    assert read_manifest(model) == default_manifest()
    assert read_manifest(model).raw is None


def test_broken_manifests_are_named(model: Path) -> None:
    (model / "MANIFEST.json").write_text("[]")
    with pytest.raises(InvalidModelException, match="Failed to parse MANIFEST.json"):
        read_manifest(model)
