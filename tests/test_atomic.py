"""Outputs appear whole or not at all, whatever goes wrong while they are written."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from cli_kit import as_nobody

from narrows.atomic import atomic_file, atomic_folder, check_output
from narrows.errors import MissingFileError, OutputError, OutputExistsError

Writer = Callable[[Path, str], None]


def write_file(path: Path, text: str) -> None:
    with atomic_file(path, overwrite=True) as temporary:
        temporary.write_text(text)


def write_folder(path: Path, text: str) -> None:
    with atomic_folder(path, overwrite=True) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "a").write_text(text)
        (temporary / "b").write_text(text)


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Let no file grow beyond a kilobyte, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_outputs_take_their_names_when_they_are_complete(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".txt"
        assert not (tmp_path / "a.txt").exists()
    with atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "b").write_text("whole")
        assert not (tmp_path / "folder").exists()
    assert contents(tmp_path) == {"a.txt": "whole", "folder/b": "whole"}


@pytest.mark.parametrize(("write", "names"), [(write_file, [""]), (write_folder, ["b", "sub/a"])])
def test_contents_are_on_the_disk_before_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Writer, names: list[str]
) -> None:
    """A name on the disk without its contents is what a power failure would leave."""
    synced: list[tuple[int, bool]] = []
    fsync = os.fsync

    def spy(handle: int) -> None:
        synced.append((os.fstat(handle).st_ino, (tmp_path / "out").exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", spy)
    write(tmp_path / "out", "new")
    files = {(tmp_path / "out" / name).stat().st_ino for name in names}
    assert {number for number, is_named in synced if not is_named} >= files
    assert synced[-1] == (tmp_path.stat().st_ino, True), "the name itself is to last"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_outputs_have_the_usual_permissions(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_file(tmp_path / "file", "")
        write_folder(tmp_path / "folder", "")
    finally:
        os.umask(before)
    for name, usual in (("file", 0o666), ("folder", 0o777), ("folder/b", 0o666)):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == usual & ~mask


@pytest.mark.parametrize("write", [write_file, write_folder])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, small_disk: None, write: Writer, is_there: bool
) -> None:
    if is_there:
        write(tmp_path / "out", "old")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=r"out' could not be written: File too large; nothing"):
        write(tmp_path / "out", "new" * 1000)
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"] * is_there


@pytest.mark.parametrize("atomic", [atomic_file, atomic_folder])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("x"), MissingFileError("x")])
def test_errors_come_out_as_they_are_and_leave_nothing(
    tmp_path: Path,
    atomic: Callable[[Path], AbstractContextManager[Path]],
    error: BaseException,
) -> None:
    with pytest.raises(type(error)) as caught, atomic(tmp_path / "out"):
        raise error
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_the_systems_refusals_are_said_in_one_line(tmp_path: Path) -> None:
    for atomic in (atomic_file, atomic_folder):
        with (
            pytest.raises(
                OutputError, match=r"out' could not be written: No space left.*behind; make room"
            ),
            atomic(tmp_path / "out"),
        ):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OutputError, match="File name too long"):
        write_file(tmp_path / ("x" * 300), "")


def test_a_killed_process_leaves_what_was_there(tmp_path: Path) -> None:
    write_file(tmp_path / "file", "old")
    write_folder(tmp_path / "folder", "old")
    before = contents(tmp_path)
    program = (
        "import os, signal\n"
        "from narrows.atomic import atomic_file, atomic_folder\n"
        "with atomic_folder('folder', overwrite=True) as folder:\n"
        "    with atomic_file('file', overwrite=True) as file:\n"
        "        file.write_text('new')\n"
        "        (folder / 'b').write_text('new')\n"
        "        os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL
    after = contents(tmp_path)
    assert len(after) == len(before) + 2  # what was begun stays, hidden, under names of its own
    assert {name: text for name, text in after.items() if not name.startswith(".")} == before


def test_existing_outputs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "folder", "link"):
        with pytest.raises(OutputExistsError, match=f"{name}' exists already; .*--overwrite"):
            check_output(tmp_path / name, overwrite=False)
        assert check_output(str(tmp_path / name), overwrite=True) == tmp_path / name
    with pytest.raises(OutputExistsError, match="folder' is a folder; name a file"):
        write_file(tmp_path / "folder", "")
    with pytest.raises(OutputExistsError, match="file' is a file; name a folder"):
        write_folder(tmp_path / "file", "")
    assert contents(tmp_path) == {"file": "mine"}


def test_outputs_need_a_folder_to_stand_in(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for parent in ("absent", "file"):
        with pytest.raises(OutputError, match=f"there is no folder '.*{parent}'; create it"):
            check_output(tmp_path / parent / "out", overwrite=False)


def test_existing_folders_keep_what_the_new_one_has_not(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_folder(folder, "old")
    (folder / "mine").write_text("mine")
    (folder / "sub" / "mine").write_text("mine")
    write_folder(folder, "new")
    assert contents(tmp_path) == {
        "folder/b": "new",
        "folder/mine": "mine",
        "folder/sub/a": "new",
        "folder/sub/mine": "mine",
    }


def test_nothing_is_replaced_when_something_is_in_the_way(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "b").write_text("mine")
    (folder / "sub").write_text("a file where a folder is to be")
    before = contents(tmp_path)
    with pytest.raises(OutputExistsError, match=r"the file '.*sub' is in the way; remove it"):
        write_folder(folder, "new")
    assert contents(tmp_path) == before
    (folder / "sub").unlink()
    (folder / "b").unlink()
    (folder / "b").mkdir()
    with pytest.raises(OutputExistsError, match=r"the folder '.*b' is in the way; remove it"):
        write_folder(folder, "new")
    assert contents(tmp_path) == {}


def test_no_permission_is_said_in_one_line(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    try:
        for write in (write_file, write_folder):
            with (
                as_nobody(),
                pytest.raises(OutputError, match=r"closed/out' c.*(Permission denied|permission)"),
            ):
                write(closed / "out", "")
        assert list(closed.iterdir()) == []
    finally:
        closed.chmod(0o700)


HANG = """
import sys
from pathlib import Path
from narrows.atomic import atomic_file, atomic_folder
with {"file": atomic_file, "folder": atomic_folder}[sys.argv[1]](Path(sys.argv[2])):
    print("written", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(("kind", "write"), [("file", write_file), ("folder", write_folder)])
def test_a_success_removes_what_killed_processes_left(
    tmp_path: Path, kind: str, write: Writer
) -> None:
    """And neither what a process still writes, nor what belongs to another output or to a user."""
    out = tmp_path / "out.x"
    command = [sys.executable, "-c", HANG, kind]
    others = [".out.x.12345678", ".out.narrows-1234567.x", ".other.narrows-12345678.x", ".out.x"]
    for name in others:
        (tmp_path / name).touch()

    def hang(path: Path) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [*command, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        return process

    with hang(out) as killed:
        killed.kill()
    (left,) = {path.name for path in tmp_path.iterdir()} - set(others)
    with hang(out) as running:
        (other,) = {path.name for path in tmp_path.iterdir()} - {left, *others}
        write(out, "new")
        assert {path.name for path in tmp_path.iterdir()} == {"out.x", other, *others}
        running.kill()
    write(out, "again")
    assert {path.name for path in tmp_path.iterdir()} == {"out.x", *others}
