"""Places that only this user may touch: how they are made, checked and read.

Everything of a runtime lies in a directory of mode 0700 that belongs to the user. The directories
around it (``/tmp``, ``/dev/shm``) belong to everybody: somebody else may have been there first, with
a directory, a link or a file of the name that we want. So what is used is looked at through an open
descriptor, without following links, and never taken on trust.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NAMES = 10  # tried beside each other, when somebody else has taken the first ones


def place(base: Path) -> Path:
    """``base/fanlight-UID``, or a name beside it if that one is not ours to use.

    Called wherever the place is needed: as long as nobody changes ``base``, the answer is the same.
    """
    first = base / f"fanlight-{os.getuid()}"
    for number in range(_NAMES):
        path = first.with_name(f"{first.name}.{number}") if number else first
        try:
            facts = path.lstat()
        except OSError:  # nothing is there; or nothing can be seen, and `make` says why
            return path
        if ours(facts):
            return path
    return first


def ours(facts: os.stat_result) -> bool:
    """Whether these are the facts (of ``lstat``) of a directory that belongs to this user."""
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid()


def make(path: Path, *, shared: bool = True) -> Path:
    """Make (or check) a directory that only this user can enter.

    ``shared``: it is used by its path later on, so that nobody may be able to exchange it either.

    Raises PermissionError if it is somebody else's, or in a directory where others can replace it.
    """
    make_parents(path)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    os.close(enter(path))
    if shared and (problem := replaceable(path.parent)):
        raise PermissionError(
            f"{path.parent} {problem}: others could replace what is in it. Set TMPDIR to a "
            "directory of your own."
        )
    return path


def make_parents(path: Path) -> None:
    """Make the directories above ``path`` that are missing: for us alone, whatever the umask is."""
    for parent in reversed([p for p in path.parents if not p.exists()]):
        try:
            parent.mkdir(mode=0o700)
        except FileExistsError:
            pass


def enter(path: Path) -> int:
    """A descriptor of a directory of ours, closed for everybody else. Raises PermissionError."""
    try:
        fd = os.open(path, _DIRECTORY)
    except OSError as e:
        if e.errno not in (errno.ELOOP, errno.ENOTDIR, errno.EACCES):
            raise
        raise PermissionError(_refusal(path)) from None
    try:
        facts = os.fstat(fd)
        if not ours(facts):
            raise PermissionError(_refusal(path))
        if facts.st_mode & 0o077:
            os.fchmod(fd, 0o700)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _refusal(path: Path) -> str:
    return (
        f"{path} is not a directory of yours: someone else made it, and could read what goes "
        "there. Remove it, or set TMPDIR to a directory of your own."
    )


def replaceable(folder: Path) -> str:
    """Why others can rename what is in ``folder`` ("can be written by everybody"), "" if not.

    That is no matter where there is nobody else: in containers, such directories are usual.
    """
    try:
        facts = folder.stat()
    except OSError:
        return ""  # making something in it will say more
    sticky = bool(facts.st_mode & stat.S_ISVTX)
    problem = ""
    if facts.st_uid not in (0, os.getuid()) and not (sticky and _unmapped(facts.st_uid)):
        problem = f"belongs to another user (uid {facts.st_uid})"
    elif not sticky and facts.st_mode & stat.S_IWOTH:
        problem = "can be written by everybody, and has no sticky bit"
    elif not sticky and facts.st_mode & stat.S_IWGRP and facts.st_gid not in (0, os.getgid()):
        problem = f"can be written by a group (gid {facts.st_gid}), and has no sticky bit"
    return "" if problem and _alone() else problem


def _alone() -> bool:
    """Whether all processes here are root's and ours; False if that cannot be seen."""
    try:
        pids = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return False
    if "1" not in pids:  # those of others are hidden
        return False
    for pid in pids:
        try:
            if os.stat(f"/proc/{pid}").st_uid not in (0, os.getuid()):
                return False
        except OSError:
            pass  # it has just ended
    return True


def _unmapped(uid: int) -> bool:
    """Whether this stands for the users outside of a container, the machine's root for one."""
    try:
        overflow = int(Path("/proc/sys/kernel/overflowuid").read_text())
        all_mapped = Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]
    except (OSError, ValueError):
        return False
    return uid == overflow and not all_mapped


def read(name: str, folder: int, limit: int) -> bytes:
    """A file of ours in an open directory: a plain one, of at most ``limit`` bytes.

    Raises OSError for everything else: a link, a pipe that nobody writes to, somebody else's file.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=folder)
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.getuid():
            raise PermissionError(errno.EACCES, "not a file of yours", name)
        data = b""
        while len(data) <= limit and (part := os.read(fd, limit + 1 - len(data))):
            data += part
    finally:
        os.close(fd)
    if len(data) > limit:
        raise OSError(errno.EFBIG, "too long", name)
    return data


def locked(path: Path, *, exclusive: bool = True) -> bool:
    """Whether a live process holds the lock of this file or directory (a session's, say).

    Not ``exclusive``: two that ask at the same moment do not take each other for it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False
