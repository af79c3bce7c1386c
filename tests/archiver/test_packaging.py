"""Which files are packed, and when packaging is refused."""

import logging
import os
import socket
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from model_archiver import ModelArchiverError, package_model
from model_archiver.archive import read_manifest
from model_archiver.packaging import HINTS

MANIFEST = "MAR-INF/MANIFEST.json"


def packed_names(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as file:
        return sorted(file.namelist())


def package(model: Path, out: Path, **options: object) -> Path:
    arguments: dict[str, object] = {"model_name": "m", "handler": "service:handle", **options}
    return package_model(model_path=model, export_path=out, **arguments)  # type: ignore[arg-type]  # any option


def test_a_folder_becomes_a_mar(model: Path, out: Path) -> None:
    assert package(model, out) == out / "m.mar"
    assert packed_names(out / "m.mar") == [MANIFEST, "service.py", "sub/inner.py", "weights.bin"]


def test_a_folder_becomes_a_tgz(model: Path, out: Path) -> None:
    assert package(model, out, archive_format="tgz") == out / "m.tar.gz"
    with tarfile.open(out / "m.tar.gz") as archive:
        assert archive.getnames() == ["m/service.py", "m/sub/inner.py", "m/weights.bin", f"m/{MANIFEST}"]


def test_a_folder_becomes_a_folder(model: Path, out: Path) -> None:
    assert package(model, out, archive_format="no-archive", runtime="python3") == out / "m"
    assert read_manifest(out / "m").runtime == "python3"
    assert (out / "m/weights.bin").read_bytes() == (model / "weights.bin").read_bytes()


def test_export_path_defaults_to_the_current_folder(model: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(out)
    assert package_model(model_name="m", model_path=model, handler="service") == out / "m.mar"


def test_what_mms_leaves_out_is_left_out(tree: Callable[[dict[str, str]], Path], out: Path) -> None:
    left_out = [".git/config", "__pycache__/a.pyc", "__MACOSX/b", "old.pyc", ".DS_Store", "sub/.DS_Store", "other.mar"]
    kept = [".hidden", "empty/.keep", "sub/.gitignore", "service.py", "x.DS_Store.txt"]
    files = dict.fromkeys([*left_out, *kept, "MANIFEST.json", "sub/MANIFEST.json"], "def handle(): pass")
    model = tree(files)
    (model / "folder-without-files").mkdir()
    assert packed_names(package(model, out)) == sorted([*kept, MANIFEST])


@pytest.mark.parametrize(
    "name", [".env", ".env.local", ".netrc", ".npmrc", ".pypirc", ".git-credentials", ".bash_history"]
)
def test_files_with_secrets_are_left_out_with_a_warning(
    model: Path, out: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    (model / "sub" / name).write_text("TOKEN=abc")
    assert packed_names(package(model, out)) == [MANIFEST, "service.py", "sub/inner.py", "weights.bin"]
    assert f"{model / 'sub' / name} may hold secrets and is left out" in caplog.text


def test_a_link_does_not_carry_a_secret_in(model: Path, out: Path, caplog: pytest.LogCaptureFixture) -> None:
    (model / ".env").write_text("TOKEN=abc")
    (model / "settings").symlink_to(".env")
    assert "settings" not in packed_names(package(model, out))
    assert caplog.text.count("may hold secrets") == 2


def test_links_to_files_inside_are_followed_and_links_to_folders_skipped(model: Path, out: Path) -> None:
    (model / "link.bin").symlink_to("weights.bin")
    (model / "folder").symlink_to("sub")
    archive = package(model, out)
    assert packed_names(archive) == [MANIFEST, "link.bin", "service.py", "sub/inner.py", "weights.bin"]
    with zipfile.ZipFile(archive) as file:
        assert file.read("link.bin") == (model / "weights.bin").read_bytes()


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside.txt"])
def test_links_that_leave_the_model_path_are_refused(model: Path, out: Path, target: str) -> None:
    (model.parent / "outside.txt").write_text("secret")
    (model / "link").symlink_to(target)
    with pytest.raises(ModelArchiverError, match="outside of the model path"):
        package(model, out)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("target", ["nosuch", "loop"])
def test_links_to_nothing_are_refused(model: Path, out: Path, target: str) -> None:
    (model / "loop").symlink_to(target)
    with pytest.raises(ModelArchiverError, match="loop is a link to a file that does not exist"):
        package(model, out)


def test_the_model_path_itself_may_be_a_link(model: Path, out: Path) -> None:
    (out / "here").symlink_to(model)
    assert "weights.bin" in packed_names(package(out / "here", out))


def test_pipes_and_sockets_are_left_out(
    model: Path, out: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(model / "pipe")
    monkeypatch.chdir(model)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
        assert packed_names(package(model, out)) == [MANIFEST, "service.py", "sub/inner.py", "weights.bin"]
    assert caplog.text.count("is not a regular file and is left out") == 2


def test_names_the_server_would_refuse_are_refused_here(model: Path, out: Path) -> None:
    (model / "WEIGHTS.BIN").write_text("")
    with pytest.raises(ModelArchiverError, match="collides with 'WEIGHTS.BIN'"):
        package(model, out)


@pytest.mark.parametrize(("archive_format", "name"), [("default", "m.mar"), ("tgz", "m.tar.gz"), ("no-archive", "m")])
def test_output_inside_the_model_path_does_not_pack_itself(model: Path, archive_format: str, name: str) -> None:
    first = package(model, model, archive_format=archive_format)
    size = sum(path.stat().st_size for path in ([first] if first.is_file() else first.rglob("*")))
    again = package(model, model, archive_format=archive_format, force=True)
    assert again == model / name
    assert sum(path.stat().st_size for path in ([again] if again.is_file() else again.rglob("*"))) == size


def test_in_place_only_the_manifest_is_written(model: Path) -> None:
    (model / "old.pyc").write_text("")
    with pytest.raises(ModelArchiverError, match="already exists"):
        package(model, model.parent, model_name="model", archive_format="no-archive")
    package(model, model.parent, model_name="model", archive_format="no-archive", force=True)
    assert sorted(path.name for path in model.iterdir()) == ["MAR-INF", "old.pyc", "service.py", "sub", "weights.bin"]
    assert read_manifest(model).model.name == "model"


def test_force_overwrites_and_says_so(model: Path, out: Path, caplog: pytest.LogCaptureFixture) -> None:
    package(model, out)
    with pytest.raises(ModelArchiverError) as caught:
        package(model, out)
    assert str(caught.value) == (
        f"{out / 'm.mar'} already exists.\n"
        "Please specify --force/-f option to overwrite the model archive output file.\n"
        "See -h/--help for more details."
    )
    package(model, out, force=True, runtime="python3")
    assert f"Overwriting {out / 'm.mar'} ..." in caplog.messages


def test_force_does_not_delete_a_folder_that_is_no_archive(model: Path, out: Path) -> None:
    (out / "m").mkdir()
    package(model, out, archive_format="no-archive", force=True)
    (out / "photos").mkdir()
    (out / "photos/cat.jpg").write_text("")
    with pytest.raises(ModelArchiverError, match="is not a model archive"):
        package(model, out, model_name="photos", archive_format="no-archive", force=True)
    assert (out / "photos/cat.jpg").exists()


def test_force_does_not_delete_the_model(model: Path) -> None:
    (model.parent / "MAR-INF").mkdir()
    (model.parent / MANIFEST).write_text("{}")
    with pytest.raises(ModelArchiverError, match="contains the model path"):
        package(
            model,
            model.parent.parent,
            model_name=model.parent.name,
            archive_format="no-archive",
            force=True,
        )
    assert (model / "weights.bin").exists()


def test_force_does_not_mix_up_files_and_folders(model: Path, out: Path) -> None:
    (out / "m.mar").mkdir()
    (out / "m").write_text("")
    with pytest.raises(ModelArchiverError, match="is a directory"):
        package(model, out, force=True)
    with pytest.raises(ModelArchiverError, match="is not a directory"):
        package(model, out, force=True, archive_format="no-archive")


@pytest.mark.parametrize("name", ["", "a/b", "a b", ".a", "_a", "mod\u00e9le", "..", "a*", "a\n", "\na", "a\0"])
def test_bad_names_are_refused(model: Path, out: Path, name: str) -> None:
    with pytest.raises(ModelArchiverError) as caught:
        package(model, out, model_name=name)
    assert str(caught.value) == (
        "Model name contains special characters.\n"
        r"The allowed regular expression filter for model name is: ^[A-Za-z0-9][A-Za-z0-9_\-.]*$"
    )


@pytest.mark.parametrize("path", ["./nosuch", "", "a\0b"])
def test_paths_are_quoted_as_given(model: Path, out: Path, path: str) -> None:
    with pytest.raises(ModelArchiverError) as caught:
        package_model(model_name="m", model_path=model, handler="h", export_path=path)
    assert str(caught.value) == (
        f"Given export-path {path} is not a directory. Point to a valid export-path directory."
    )
    with pytest.raises(ModelArchiverError) as caught:
        package_model(model_name="m", model_path=path, handler="h", export_path=out)
    assert str(caught.value) == (
        f"Given model-path {path} is not a valid directory. Point to a valid model-path directory."
    )


@pytest.mark.parametrize("option", [{"runtime": "ruby"}, {"archive_format": "rar"}])
def test_unknown_words_are_refused(model: Path, out: Path, option: dict[str, str]) -> None:
    with pytest.raises(ModelArchiverError, match="ruby|rar"):
        package(model, out, **option)


def test_handler_problems_are_warnings(model: Path, out: Path, caplog: pytest.LogCaptureFixture) -> None:
    package(model, out, handler="service:nosuch")
    package(model, out, handler="elsewhere:handle", force=True)
    found = [(record.name, record.levelno) for record in caplog.records if "Overwriting" not in record.message]
    assert found == [("model_archiver.packaging", logging.WARNING), (HINTS, logging.WARNING)]
