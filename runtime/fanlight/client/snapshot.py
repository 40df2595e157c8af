"""Copies of local files for workers: a ``working_dir``, and what ``py_modules`` names.

A copy lies in the session's directory, under a name that its content decides: the same content is
copied once, and a directory that changes while the driver goes on is a new one at the next ``init``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fanlight.client import ignore
from fanlight.runtime_env import module_path

LIMIT = 512 << 20  # bytes; larger trees are data, and data is not copied with code
_CHUNK = 1 << 20


class _Copy:
    """Copies into a directory, hashing and counting what it writes."""

    def __init__(self, target: str, what: str) -> None:
        self.target = target
        self.what = what
        self.hash = hashlib.blake2b(digest_size=12)
        self.size = 0
        self.largest: list[tuple[int, str]] = []

    def folder(self, path: str) -> None:
        self.hash.update(f"d{path}\0".encode(errors="surrogateescape"))
        os.mkdir(os.path.join(self.target, path))

    def link(self, source: str, path: str) -> None:
        """A link to a directory: its copy points to the same place."""
        place = os.path.realpath(source)
        self.hash.update(f"l{path}\0{place}\0".encode(errors="surrogateescape"))
        os.symlink(place, os.path.join(self.target, path))

    def file(self, stream: Any, path: str, mode: int) -> None:
        self.hash.update(f"f{path}\0{mode & 0o111:o}\0".encode(errors="surrogateescape"))
        place = os.path.join(self.target, path)
        before = self.size
        with open(place, "xb") as out:
            while data := stream.read(_CHUNK):
                self.size += len(data)
                if self.size >= LIMIT:
                    self._too_large(self.size - before, path)
                self.hash.update(data)
                out.write(data)
        self.hash.update(f"\0{self.size - before}\0".encode())
        self.largest = sorted([*self.largest, (self.size - before, path)], reverse=True)[:5]
        os.chmod(place, stat.S_IRUSR | stat.S_IWUSR | (mode & 0o111))

    def _too_large(self, size: int, path: str) -> None:
        largest = sorted([*self.largest, (size, path)], reverse=True)[:5]
        names = ", ".join(f"{name} ({n / 2**20:.1f} MiB)" for n, name in largest)
        raise ValueError(
            f"{self.what} is too large to be copied for workers: the package's size exceeds the "
            f"maximum of {LIMIT >> 20} MiB. Its largest files so far: {names}. Leave them out with "
            "runtime_env['excludes'], .gitignore or .fanlightignore, and pass data by put() or by "
            "absolute paths."
        )

    def tree(self, root: str, base: str, excludes: list[str]) -> None:
        """Everything below ``root`` that is not ignored, to ``base`` ("" or "name/")."""
        flag = os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "0")
        for path, folder in ignore.walk(root, excludes, gitignore=flag != "1"):
            source = os.path.join(root, path)
            if folder:
                self.folder(base + path)
            elif os.path.isdir(source):
                self.link(source, base + path)
            else:
                self.one(source, base + path)

    def one(self, source: str, path: str) -> None:
        try:
            with open(source, "rb") as stream:
                self.file(stream, path, os.fstat(stream.fileno()).st_mode)
        except FileNotFoundError:
            pass  # a link to nothing, or gone since its directory was read

    def archive(self, source: str) -> None:
        """Unpack a zip file; a single directory at its top is left out, as Ray does."""
        with zipfile.ZipFile(source) as archive:
            items = [item for item in archive.infolist() if not item.is_dir()]
            tops = {item.filename.partition("/")[0] for item in items}
            nested = len(tops) == 1 and all("/" in item.filename for item in items)
            skip = len(next(iter(tops))) + 1 if nested and source.endswith(".zip") else 0
            for item in sorted(items, key=lambda item: item.filename):
                path = item.filename[skip:]
                if os.path.isabs(path) or ".." in Path(path).parts:
                    raise ValueError(f"{source} holds {path!r}, a path that leads out of it.")
                self._parents(path)
                with archive.open(item) as stream:
                    self.file(stream, path, item.external_attr >> 16)

    def _parents(self, path: str) -> None:
        parts = path.split("/")[:-1]
        for i in range(len(parts)):
            with contextlib.suppress(FileExistsError):
                self.folder("/".join(parts[: i + 1]))


def _make(folder: Path, kind: str, what: str, fill: Callable[[_Copy], None]) -> str:
    """Copy to a directory that is named after what it holds; returns its name."""
    folder.mkdir(mode=0o700, exist_ok=True)
    part = folder / f"part-{secrets.token_hex(6)}"
    part.mkdir(mode=0o700)
    try:
        copy = _Copy(str(part), what)
        fill(copy)
        name = f"{kind}-{copy.hash.hexdigest()}"
        try:
            part.rename(folder / name)
        except OSError:
            if not (folder / name).is_dir():
                raise
        return name
    finally:
        shutil.rmtree(part, ignore_errors=True)


def working_dir(folder: Path, path: str, excludes: list[str]) -> str:
    """Copy a directory, or unpack a .zip; returns the name of the copy in ``folder``.

    Called by the driver, in ``init``. Raises ValueError if it is too large, OSError if it cannot be
    read.
    """

    def fill(copy: _Copy) -> None:
        if os.path.isdir(path):
            copy.tree(path, "", excludes)
        else:
            copy.archive(path)

    return _make(folder, "dir", f"working_dir {path!r}", fill)


def module(folder: Path, item: Any, excludes: list[str]) -> str:
    """Copy one of ``py_modules``; returns the name of a directory to search for it."""
    path = os.fspath(item) if isinstance(item, str | os.PathLike) else module_path(item)
    assert path is not None, "checked by runtime_env.check"
    name = os.path.basename(os.path.realpath(path))

    def fill(copy: _Copy) -> None:
        if os.path.isdir(path):
            copy.folder(name)
            copy.tree(path, name + "/", excludes)
        elif path.endswith(".py"):
            copy.one(path, name)
        else:
            copy.archive(path)

    return _make(folder, "mod", f"py_modules {path!r}", fill)
