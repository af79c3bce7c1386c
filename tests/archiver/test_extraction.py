"""Unpacking archives that mean harm, or are broken, or are old."""

import gzip
import io
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from model_archiver.errors import InvalidModelException
from model_archiver.extraction import ExtractionLimits, extract, find_model_folder

MANIFEST = "MAR-INF/MANIFEST.json"


def make_zip(path: Path, entries: list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def make_tgz(path: Path, entries: list[tuple[str | tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for entry, content in entries:
            info = tarfile.TarInfo(entry) if isinstance(entry, str) else entry
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def names_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = "/etc/passwd"
    return info


def zip_link(name: str, mode: int = stat.S_IFLNK) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (mode | 0o777) << 16
    return info


@pytest.mark.parametrize("name", ["m.mar", "m.model", "m.zip", "m"])
def test_zip_is_told_by_content(tmp_path: Path, name: str) -> None:
    archive = make_zip(tmp_path / name, [("a.py", b"a"), ("d/", b""), ("d/b.bin", b"b" * 5000), (MANIFEST, b"{}")])
    extract(archive, tmp_path / "to")
    assert names_below(tmp_path / "to") == [MANIFEST, "a.py", "d/b.bin"]
    assert (tmp_path / "to/d/b.bin").read_bytes() == b"b" * 5000


def test_files_and_folders_are_private_and_keep_only_the_execute_bit(tmp_path: Path) -> None:
    tool = zip_link("d/tool", stat.S_IFREG | stat.S_ISUID)
    extract(make_zip(tmp_path / "m.mar", [(tool, b"x"), ("plain", b"y")]), tmp_path / "to")
    assert [stat.S_IMODE((tmp_path / "to" / name).stat().st_mode) for name in ("", "d", "d/tool", "plain")] == [
        0o700,
        0o700,
        0o700,
        0o600,
    ]


@pytest.mark.parametrize("content", [b"", b"this is not a zip file\n" * 10, b"PK\x05\x06" + b"\0" * 18, b"P"])
def test_a_file_that_is_no_archive_gives_an_empty_folder(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.mar").write_bytes(content)
    extract(tmp_path / "m.mar", tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../out.txt", "../../slipped.txt", "/abs.txt", "C:/x", "a\\..\\b", "a/../../b", "ok/../../to-evil/x"]
)
@pytest.mark.parametrize("make", [make_zip, make_tgz])
def test_escaping_names_are_refused_and_nothing_is_left(
    tmp_path: Path, name: str, make: Callable[[Path, list[tuple[str, bytes]]], Path]
) -> None:
    archive = make(tmp_path / "m.mar", [("ok.txt", b"fine"), (name, b"escaped")])
    (tmp_path / "deep").mkdir()
    with pytest.raises(InvalidModelException, match="Archive entry "):
        extract(archive, tmp_path / "deep/to")
    assert names_below(tmp_path) == ["m.mar"]
    assert not (tmp_path / "deep/to").exists()


def test_nul_in_a_zip_name_does_not_hide_the_rest(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "m.mar", [("innocentX../../evil", b"x")])
    archive.write_bytes(archive.read_bytes().replace(b"innocentX", b"innocent\0"))
    with pytest.raises(InvalidModelException):
        extract(archive, tmp_path / "to")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_zip_links_and_devices_are_refused(tmp_path: Path, mode: int) -> None:
    archive = make_zip(tmp_path / "m.mar", [(zip_link("link", mode), b"/etc/passwd")])
    with pytest.raises(InvalidModelException, match="'link' is a link or a special file"):
        extract(archive, tmp_path / "to")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_tar_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = make_tgz(tmp_path / "m.tar.gz", [(special("link", kind), b"")])
    with pytest.raises(InvalidModelException, match="'link' is a link or a special file"):
        extract(archive, tmp_path / "to")


@pytest.mark.parametrize("second", ["a.txt", "A.TXT", "a.txt/b"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice_is_refused(tmp_path: Path, second: str) -> None:
    archive = make_zip(tmp_path / "m.mar", [("a.txt", b"1"), (second, b"2")])
    with pytest.raises(InvalidModelException, match="collides with 'a.txt'"):
        extract(archive, tmp_path / "to")


def test_encrypted_and_oddly_compressed_entries_are_refused(tmp_path: Path) -> None:
    odd = make_zip(tmp_path / "odd.mar", [])
    with zipfile.ZipFile(odd, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", b"x" * 100)
    with pytest.raises(InvalidModelException, match="another method than deflate"):
        extract(odd, tmp_path / "to")
    locked = make_zip(tmp_path / "locked.mar", [("a", b"x")])
    content = bytearray(locked.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    locked.write_bytes(content)
    with pytest.raises(InvalidModelException, match="'a' is encrypted"):
        extract(locked, tmp_path / "to")


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (ExtractionLimits(max_total_bytes=9_000), "'b' makes the archive unpack to too many bytes"),
        (ExtractionLimits(max_ratio=2, ratio_free_bytes=100), "'a' makes the archive unpack to too many bytes"),
        (ExtractionLimits(max_entries=1), "more than 1 entries"),
        (ExtractionLimits(max_name_bytes=0), "a name of more than 0 bytes"),
    ],
)
@pytest.mark.parametrize("make", [make_zip, make_tgz])
def test_limits_end_the_unpacking(
    tmp_path: Path,
    limits: ExtractionLimits,
    words: str,
    make: Callable[[Path, list[tuple[str, bytes]]], Path],
) -> None:
    archive = make(tmp_path / "m", [("a", bytes(5_000)), ("b", bytes(5_000))])
    with pytest.raises(InvalidModelException, match=words):
        extract(archive, tmp_path / "to", limits=limits)
    assert not (tmp_path / "to").exists()


def test_sizes_in_headers_are_not_believed(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "m.mar", [("a", bytes(100_000))])
    content = bytearray(archive.read_bytes())
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(content)
    with pytest.raises(InvalidModelException, match="damaged or incomplete"):
        extract(archive, tmp_path / "to", limits=ExtractionLimits(max_total_bytes=50_000))


def test_a_huge_tar_header_is_not_read_into_memory(tmp_path: Path) -> None:
    header = special("x", tarfile.XHDTYPE)
    header.size = 40 * 1024 * 1024
    with gzip.open(tmp_path / "m.tgz", "wb") as file:
        file.write(header.tobuf())
        for _ in range(40):
            file.write(bytes(1024 * 1024))
    with pytest.raises(InvalidModelException, match="damaged or incomplete"):
        extract(tmp_path / "m.tgz", tmp_path / "to")


def test_bytes_after_the_tar_count_too(tmp_path: Path) -> None:
    archive = make_tgz(tmp_path / "m.tgz", [("a", b"x")])
    archive.write_bytes(gzip.compress(gzip.decompress(archive.read_bytes()) + bytes(5_000_000)))
    with pytest.raises(InvalidModelException, match="too many bytes"):
        extract(archive, tmp_path / "to", limits=ExtractionLimits(max_total_bytes=1_000_000))


@pytest.mark.parametrize("make", [make_zip, make_tgz])
def test_truncated_archives_are_refused(tmp_path: Path, make: Callable[[Path, list[tuple[str, bytes]]], Path]) -> None:
    rng = random.Random(1)
    whole = make(tmp_path / "whole", [("a", rng.randbytes(20_000)), ("b", rng.randbytes(20_000))]).read_bytes()
    for size in (10, 100, 10_000, 30_000, len(whole) - 5):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(InvalidModelException, match="Archive cut is damaged or incomplete"):
            extract(tmp_path / "cut", tmp_path / "to")
        assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("make", [make_zip, make_tgz])
def test_damage_never_raises_anything_else(
    tmp_path: Path, make: Callable[[Path, list[tuple[str, bytes]]], Path]
) -> None:
    rng = random.Random(2)
    whole = make(
        tmp_path / "whole", [("d/a", rng.randbytes(300)), ("b", b"text" * 200), (MANIFEST, b"{}")]
    ).read_bytes()
    for number in range(400):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        (tmp_path / "m").write_bytes(content)
        destination = tmp_path / str(number)
        try:
            extract(tmp_path / "m", destination)
        except InvalidModelException:
            assert not destination.exists()


def test_tgz_of_the_archiver_loses_its_top_folder(tmp_path: Path) -> None:
    archive = make_tgz(tmp_path / "m.tar.gz", [("m1/a.py", b"a"), ("m1/m1/b", b"b"), (f"m1/{MANIFEST}", b"{}")])
    extract(archive, tmp_path / "to")
    assert names_below(tmp_path / "to") == [MANIFEST, "a.py", "m1/b"]


@pytest.mark.parametrize("make", [make_zip, make_tgz])
def test_legacy_archive_one_folder_deep_is_lifted(
    tmp_path: Path, make: Callable[[Path, list[tuple[str, bytes]]], Path]
) -> None:
    archive = make(tmp_path / "m", [("net/MANIFEST.json", b"{}"), ("net/s.py", b""), ("__MACOSX/x", b"")])
    extract(archive, tmp_path / "to")
    assert names_below(tmp_path / "to") == ["MANIFEST.json", "s.py"]


def test_an_archive_without_manifest_keeps_its_folders(tmp_path: Path) -> None:
    extract(make_zip(tmp_path / "m", [("pkg/inner.py", b"")]), tmp_path / "to")
    assert names_below(tmp_path / "to") == ["pkg/inner.py"]


def test_two_manifests_one_folder_deep_decide_nothing(tmp_path: Path) -> None:
    extract(make_zip(tmp_path / "m", [("a/MANIFEST.json", b""), ("b/MANIFEST.json", b"")]), tmp_path / "to")
    assert find_model_folder(tmp_path / "to") == tmp_path / "to"


def test_destination_may_exist_empty_but_not_full(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "m", [("a", b"x")])
    (tmp_path / "to").mkdir(mode=0o755)
    extract(archive, tmp_path / "to")
    with pytest.raises(FileExistsError):
        extract(archive, tmp_path / "to")
    assert names_below(tmp_path / "to") == ["a"]


def test_missing_archive_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        extract(tmp_path / "nosuch.mar", tmp_path / "to")
    assert not (tmp_path / "to").exists()
