"""Files are whole or not there: atomic writes, folders put in place in one move, checksums, format numbers, errors."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dodam import files
from dodam.errors import FolderError, StorageError


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def fail_with(number: int):
    def fail(*_args, **_values):
        raise OSError(number, os.strerror(number))

    return fail


def test_write_atomic_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    files.write_atomic(path, "옛것")
    files.write_atomic(path, b"new\n")
    assert path.read_bytes() == b"new\n"
    assert names(path.parent) == {"b.txt"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_disk_that_cannot_be_written_leaves_the_old_file(tmp_path: Path, monkeypatch, number: int) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"n": 1})
    monkeypatch.setattr(os, "fsync", fail_with(number))
    with pytest.raises(StorageError) as caught:
        files.write_json(path, {"n": 2})
    assert caught.value.where == str(path) and caught.value.mend
    monkeypatch.undo()
    assert files.read_json(path) == {"n": 1}
    assert names(tmp_path) == {"a.json"}


def test_other_errors_are_not_called_a_full_disk(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(os, "fsync", fail_with(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        files.write_atomic(tmp_path / "a", b"")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("below", ["b", "b/c"])
def test_a_file_where_a_folder_is_needed_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        files.write_atomic(tmp_path / "a" / below, b"")


@pytest.mark.parametrize("content", [b"", b'{"n": 1', b"[1, 2]", b'{"n": "\xb0"}'])
def test_torn_json_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(FolderError) as caught:
        files.read_json(path)
    assert caught.value.where == str(path)


def test_missing_json_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"none\.json"):
        files.read_json(tmp_path / "none.json")


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"이름": "도담", "n": [1, 2.5, None, True], "path": {}}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == value
    assert "도담" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_new_dir_replaces_as_a_whole(tmp_path: Path) -> None:
    for text in ("one", "two"):
        with files.new_dir(tmp_path / "out") as folder:
            assert names(folder) == set()
            (folder / text).write_text(text)
    assert names(tmp_path / "out") == {"two"}
    assert names(tmp_path) == {"out"}


def test_new_dir_that_fails_leaves_the_old_folder(tmp_path: Path, monkeypatch) -> None:
    with files.new_dir(tmp_path / "out") as folder:
        (folder / "old").write_text("")
    with pytest.raises(RuntimeError), files.new_dir(tmp_path / "out") as folder:
        (folder / "new").write_text("")
        raise RuntimeError
    with pytest.raises(StorageError), files.new_dir(tmp_path / "out") as folder:
        (folder / "new").write_text("")
        monkeypatch.setattr(os, "fsync", fail_with(errno.ENOSPC))
    assert names(tmp_path / "out") == {"old"}
    assert names(tmp_path) == {"out"}


def test_new_dir_leaves_what_another_process_is_writing(tmp_path: Path) -> None:
    other = tmp_path / f".out.{os.getppid()}.tmp"
    other.mkdir()
    with files.new_dir(tmp_path / "out") as folder:
        (folder / "a").write_text("")
    assert names(tmp_path) == {"out", other.name}


def test_only_a_folder_of_a_process_that_is_gone_is_stale(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = {f".out.{pid}.tmp" for pid in (gone.pid, 10**30, os.getpid(), "mine")}
    for name in left:
        (tmp_path / name).mkdir()
    files.remove_stale(tmp_path / "out")
    assert names(tmp_path) == {f".out.{os.getpid()}.tmp", ".out.mine.tmp"}


def test_files_are_flushed_through_what_may_write(tmp_path: Path, monkeypatch) -> None:
    """On Windows fsync refuses a file that is open for reading only."""
    fcntl = pytest.importorskip("fcntl")
    modes = []
    monkeypatch.setattr(os, "fsync", lambda number: modes.append(fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE))
    (tmp_path / "a").write_text("a")
    files.sync_dir(tmp_path)
    assert modes == [os.O_RDWR] and (tmp_path / "a").read_text() == "a"


def test_json_that_python_will_not_read_is_torn(tmp_path: Path) -> None:
    for text in ('{"n": ' + "1" * 5000 + "}", '{"n": ' * 100_000):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(FolderError, match=r"a\.json: is not JSON"):
            files.read_json(tmp_path / "a.json")


def test_new_dir_forgets_what_a_killed_run_left(tmp_path: Path) -> None:
    """Killed while writing: nothing stands at the final place, and the next run starts from an empty folder."""
    code = (
        "import os, signal, sys\nfrom dodam import files\n"
        "with files.new_dir(sys.argv[1]) as folder:\n"
        "    (folder / 'half').write_text('')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=False)
    assert killed.returncode == -9
    assert not (tmp_path / "out").exists()
    with files.new_dir(tmp_path / "out") as folder:
        (folder / "whole").write_text("")
    assert names(tmp_path / "out") == {"whole"}
    assert names(tmp_path) == {"out"}


def test_xxh3_is_the_published_one(tmp_path: Path) -> None:
    """The digests of XXH3-128, seed 0, as xxHash's own `xxhsum -H2` prints them."""
    path = tmp_path / "a"
    path.write_bytes(b"")
    assert files.xxh3(path) == "99aa06d3014798d86001c324468d497f"
    path.write_bytes(b"a" * ((1 << 22) + 1))  # more than one block
    import xxhash

    assert files.xxh3(path) == xxhash.xxh3_128_hexdigest(path.read_bytes())


def test_formats(tmp_path: Path) -> None:
    files.check_format(1, 2, tmp_path)
    files.check_format(2, 2, tmp_path)
    with pytest.raises(FolderError, match=r"format 3.*up to 2.*Update Dodam"):
        files.check_format(3, 2, tmp_path)
    for found in (None, "1", 0):
        with pytest.raises(FolderError, match="no format number"):
            files.check_format(found, 2, tmp_path)


def test_files_needs_only_the_standard_library() -> None:
    code = "import sys; import dodam.files; print('xxhash' in sys.modules, 'numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]
