"""Unpack an archive of data, or leave nothing behind."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

_OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_BROKEN = (EOFError, OSError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
STAMP = ".archive"  # a file in the folder made here: size and time of the archive, and the folder to return


def extract(archive: str | os.PathLike, dest: str | os.PathLike) -> Path:
    """Unpack a .tar, .tgz, .tar.gz, .tar.bz2, .tar.xz or .zip into a folder of its own under `dest`; once.

    Returns that folder, or the one folder that it holds. It appears whole or not at all: files are written to a
    temporary folder, which is then renamed. Raises ValueError for a member that would land outside or is a link, and
    for an archive that is truncated or none.
    """
    archive, dest = Path(archive), Path(dest)
    if not archive.is_file():
        raise FileNotFoundError(f"extract: there is no archive {archive}")
    root = dest / archive.name.split(".")[0]
    stamp = f"{archive.stat().st_size} {archive.stat().st_mtime_ns}"
    if root.exists():
        if not (root / STAMP).is_file():
            raise FileExistsError(f"extract: {root} was not made by extract; move it, or choose another dest")
        told, complete, inner = (root / STAMP).read_text().partition("\n")
        if complete and told == stamp:
            return root / inner
    dest.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=dest, prefix=f".{root.name}-") as place:
        whole = Path(place) / root.name
        whole.mkdir()
        try:
            for name, file in _members(archive):
                target = whole / _safe(name, archive)
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(target, "wb") as out:
                    shutil.copyfileobj(file, out, 1 << 20)
        except _BROKEN as why:
            raise ValueError(f"extract: {archive} is truncated or no archive: {why}; get it again") from why
        inside = [p.name for p in whole.iterdir() if not p.name.startswith(".")]
        inner = inside[0] if len(inside) == 1 and (whole / inside[0]).is_dir() else ""
        (whole / STAMP).write_text(f"{stamp}\n{inner}")
        if root.exists():
            shutil.rmtree(root)
        whole.rename(root)
    return root / inner


def _safe(name: str, archive: Path) -> str:
    """The name of a member, if it stays inside the folder on every system."""
    if ".." in PureWindowsPath(name).parts or PureWindowsPath(name).anchor or PurePosixPath(name).is_absolute():
        raise ValueError(f"extract: {archive} would write outside its folder: {name!r}; nothing was unpacked")
    return name


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """(name, open file) for every file, with each checksum verified when the end is reached."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if not info.is_dir():
                    with packed.open(info) as file:
                        yield info.filename, file
        return
    with open(archive, "rb") as raw:
        head = raw.read(6)
    opener = next((o for magic, o in _OPENERS.items() if head.startswith(magic)), open)
    with opener(archive, "rb") as stream, tarfile.open(fileobj=stream, mode="r|") as packed:
        for member in packed:
            if member.isdir():
                continue
            if not member.isfile():
                raise ValueError(f"extract: {archive} holds a link or a device, {member.name!r}; it unpacks files only")
            content = packed.extractfile(member)
            assert content is not None  # member is a file
            yield member.name, content
        if opener is open:  # nothing but a block of zeros says that this is the end
            stream.seek(packed.offset)
            if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise EOFError("it ends in the middle")
        while stream.read(1 << 20):  # to the end: a compressed stream checks its sum there
            pass
