"""Who writes where: locks that die with their process, and scratch folders that are cleared when theirs is free.

Four kinds, all of `flock`:

    hold(outdir)             one run (or import, or stage by hand) at a time in an outdir
    beside(outdir, doing)    a locked folder beside a result, which is moved into place at the end
    job(outdir, name)        a locked scratch folder of one job of a run: jobs of a killed run may live on elsewhere
    one_at_a_time(file, doing)   a block that others wait for: a cache that all of them need is made once

The kernel lets go of a `flock` when the process ends, however it ends. It holds between hosts on NFS (Linux: NFS 3 with
lockd, NFS 4), GPFS, BeeGFS and CephFS, and on Lustre with the mount option `flock`; with `localflock` or `nolock` it
holds on one host only, and where there is none at all a line on stderr says so. A lock file says who holds it.

Snakemake's own lock files outlive a killed run and then stop the next one until `--unlock`; profiles/default switches
them off, and this takes their place.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from brainlm_data.errors import InputError

LOCK = Path("work") / "lock"  # below the folder that is locked
SCRATCH = Path("work") / "scratch"  # below an outdir
FORGOTTEN_S = 7 * 24 * 3600  # what another host left is cleared when nobody has touched it for longer than any job runs
TEMPORARY = ".*@*@*"  # a pattern of `temporary_name`
HOST = socket.gethostname()


def hold(outdir: Path) -> TextIO:
    """Lock `outdir` until the returned file is closed or this process ends, however it ends.

    Raises
    ------
    InputError: another run holds it; the message names its host and process, and since when.
    """
    handle = _take(outdir / LOCK)
    if handle is None:
        raise InputError(
            f"another run is writing to {outdir} ({_holder(outdir / LOCK)})", "wait for it, or choose another outdir"
        )
    return handle


@contextmanager
def holding(outdir: Path) -> Iterator[None]:
    """Lock `outdir` for a block; what was made for the lock alone, now or by one that was killed, is removed."""
    is_new = not outdir.exists()
    work = (outdir / LOCK).parent
    with hold(outdir):
        try:
            yield
        finally:
            if os.listdir(work) == [LOCK.name]:
                shutil.rmtree(work, ignore_errors=True)
            with suppress(OSError):  # there is something in it
                if is_new:
                    outdir.rmdir()


@contextmanager
def planning(outdir: Path) -> Iterator[bool]:
    """Wait for others who plan in `outdir`, then keep them out; False where a run holds it: its jobs read the plan."""
    handle = _take(outdir / LOCK.with_suffix(".plan"), wait=True, named=False)
    assert handle is not None
    with handle:
        yield not _is_held(outdir / LOCK)


def _is_held(file: Path) -> bool:
    """True where another process holds a lock; nothing is written to find out."""
    try:
        with file.open(encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # nobody ever locked it, or a file system without locks
        return False
    return False


@contextmanager
def beside(outdir: Path, doing: str) -> Iterator[Path]:
    """A locked, empty folder `.OUTDIR.DOING` beside `outdir`, removed at the end; what a killed run left goes, too.

    It is on the same file system, so that what was written there can be moved into place at once.

    Raises
    ------
    InputError: another process has it.
    """
    place = outdir.resolve()  # where it really is
    folder = place.parent / f".{place.name}.{doing}"
    handle = _take(folder / LOCK)
    if handle is None:
        raise InputError(
            f"another run is writing to {outdir} ({_holder(folder / LOCK)})", "wait for it, or choose another folder"
        )
    with handle:
        _empty(folder)
        try:
            yield folder
        finally:
            _empty(folder)
            shutil.rmtree(folder, ignore_errors=True)  # with the lock, last: who waits for it then makes a new one


@contextmanager
def job(outdir: Path, name: str) -> Iterator[Path]:
    """The scratch folder of a job, empty, removed at the end; the same job elsewhere is waited for.

    A run that is killed on its own host does not end its jobs on others: what they write now, a job of the next run
    would write as well. It finds their receipts instead.
    """
    file = outdir / SCRATCH / f"{name}.lock"
    handle = _take(file)
    if handle is None:
        print(f"{name}: waits for the same job of an earlier run ({_holder(file)})", file=sys.stderr, flush=True)
        handle = _take(file, wait=True)
    assert handle is not None
    folder = file.with_name(f"{name}@{HOST}@{os.getpid()}")
    with handle:
        for old in _folders(file):
            _clear_folder(old)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            file.unlink(missing_ok=True)


@contextmanager
def one_at_a_time(file: Path, doing: str) -> Iterator[None]:
    """A block that one process is in at a time: `file` is the lock, and removed at the end. Others wait, and say so.

    Raises
    ------
    OSError: the lock cannot be written there.
    """
    handle = _take(file)
    if handle is None:
        print(f"{doing}: waits for another process that does it ({_holder(file)})", file=sys.stderr, flush=True)
        handle = _take(file, wait=True)
    assert handle is not None
    with handle:
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def clear_scratch(outdir: Path) -> None:
    """Remove what killed jobs left below `work`; nothing of a job that is alive, on this host or another one."""
    scratch = outdir / SCRATCH
    for file in sorted(scratch.glob("*.lock")):
        with suppress(FileNotFoundError), file.open("r+", encoding="utf-8") as handle:  # a job has ended meanwhile
            if _locked(handle, fcntl.LOCK_NB):
                left = [folder for folder in _folders(file) if not _clear_folder(folder)]
                if not left:
                    file.unlink(missing_ok=True)
    for old in scratch.glob("*"):
        if "@" not in old.name and old.suffix != ".lock":  # of a release before these locks
            shutil.rmtree(old, ignore_errors=True)
    clear_temporaries((outdir / "work").glob(TEMPORARY))
    clear_temporaries((outdir / "work" / "listing").glob(f"*/{TEMPORARY}"))


def temporary_name(path: Path) -> Path:
    """A name beside `path`, with the same ending, that no other process uses, on any host."""
    return path.with_name(f".{os.getpid()}@{HOST}@{path.name}")


def fresh_temporary(path: Path) -> Path:
    """`temporary_name`, when what killed processes left of the same file is removed."""
    clear_temporaries(path.parent.glob(f".*@*@{glob.escape(path.name)}"))
    return temporary_name(path)


def clear_temporaries(files: Iterable[Path]) -> None:
    """Remove those of these files, which `temporary_name` named, whose process is gone."""
    for file in list(files):
        pid, host, _ = file.name[1:].split("@", 2)
        is_alive = pid.isdigit() and Path(f"/proc/{pid}").exists() if host == HOST else _is_recent(file)
        if file.is_file() and not is_alive:
            file.unlink(missing_ok=True)


def _clear_folder(folder: Path) -> bool:
    """Remove a scratch folder whose job's lock is ours; True where it is gone.

    That of another host only when it is old: where locks hold on one host alone, ours says nothing of it.
    """
    if folder.name.split("@")[1] != HOST and _is_recent(folder):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _is_recent(path: Path) -> bool:
    """Whether it, or anything in it, was touched lately."""
    times = [file.lstat().st_mtime for file in (path, *path.rglob("*"))]
    return time.time() - max(times) < FORGOTTEN_S


def _empty(folder: Path) -> None:
    """Remove all of a locked folder but its lock."""
    for old in folder.iterdir():
        if old.name != LOCK.parts[0]:
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()


def _folders(file: Path) -> list[Path]:
    """The scratch folders of a job's lock file: one per process that has had it."""
    return sorted(file.parent.glob(f"{file.stem}@*@*"))


def _take(file: Path, wait: bool = False, named: bool = True) -> TextIO | None:
    """The locked file, with this process's name in it; None where another process holds it and `wait` is False."""
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = file.open("a", encoding="utf-8")
        except FileNotFoundError:  # its folder was removed by who had it
            continue
        except IsADirectoryError as error:
            raise InputError(f"{file}: a folder stands where the lock belongs", "remove it") from error
        if _locked(handle, 0 if wait else fcntl.LOCK_NB) is False:
            handle.close()
            return None
        if _is_at(handle, file):
            break
        handle.close()  # who had it has removed it: the lock of a file without a name keeps nobody out
    if not named:
        return handle
    owner = {"host": HOST, "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    with suppress(OSError):  # a full disk: the lock holds without a name
        os.ftruncate(handle.fileno(), 0)
        os.write(handle.fileno(), json.dumps(owner).encode())
        os.fsync(handle.fileno())  # another host reads it
    return handle


def _locked(handle: TextIO, how: int) -> bool | None:
    """Lock an open file; False where another process holds it, None where the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | how)
    except BlockingIOError:
        return False
    except OSError as error:
        print(f"{handle.name}: no locks on this file system ({error.strerror}): start one run at a time",
              file=sys.stderr, flush=True)  # fmt: skip
        return None
    return True


def _is_at(handle: TextIO, file: Path) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), file.stat())
    except FileNotFoundError:
        return False


def _owner(file: Path) -> dict[str, Any]:
    """Host, pid and since of a lock file; empty where it does not say."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _holder(file: Path) -> str:
    """Who holds a lock, in words."""
    owner = _owner(file)
    if not owner:
        return "its lock does not say who"
    return f"host {owner.get('host')}, process {owner.get('pid')}, since {owner.get('since')}"
