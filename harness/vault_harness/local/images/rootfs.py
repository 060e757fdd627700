"""A root filesystem for a container, gathered from this machine.

An image needs no distribution: only a program, its shared libraries, and for Python its standard
library. Nothing is downloaded, and the container runs what was tested here.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement

from vault_harness.errors import EngineError

# No distribution's own Python uses this prefix.
PREFIX = PurePosixPath("/usr/local")

PACKAGES = PurePosixPath("/app/packages")
"""Packages inside. On PYTHONPATH, because Pythons differ in their default folders (Debian's uses
``dist-packages``)."""

# A server never imports these: 600 MB in a pyenv build.
_UNWANTED_DIRECTORIES = frozenset(
    {
        "site-packages",
        "dist-packages",
        "test",
        "tests",
        "idlelib",
        "idle_test",
        "tkinter",
        "turtledemo",
        "lib2to3",
        "ensurepip",
        "pydoc_data",
        "__phello__",
    }
)
_UNWANTED_MODULES = (
    "_tkinter",
    "_dbm",
    "_gdbm",
    "_curses",
    "readline",
    "_sqlite3",
    "_test",
    "_xx",
    "xx",
)

# glibc loads these by name at run time, so no ELF header mentions them.
_LOADED_BY_NAME = ("libgcc_s.so.1", "libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2")

_ETC = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_DIRECTORIES = (("tmp", 0o1777), ("root", 0o700), ("run", 0o755))


@dataclass
class Rootfs:
    """The files of a future container, by absolute path inside.

    Attributes:
        files: Sources on this machine.
        links: Targets of symbolic links.
        texts: Contents of small files.
        directories: Modes of empty directories.
    """

    files: dict[str, Path] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    directories: dict[str, int] = field(default_factory=dict)

    @classmethod
    def bare(cls) -> Rootfs:
        """Return one with users, name resolution and temporary folders only."""
        root = cls()
        root.texts.update({f"/{name}": text for name, text in _ETC.items()})
        root.directories.update({f"/{name}": mode for name, mode in _DIRECTORIES})
        return root

    def add_program(self, source: Path, target: str) -> None:
        """Add an executable with its loader and libraries."""
        self.files[target] = source.resolve()
        self._add_libraries([source])

    def add_python(self) -> None:
        """Add the running interpreter, and its standard library without tests and GUIs."""
        interpreter = Path(sys.executable).resolve()
        name = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.files[str(PREFIX / "bin" / name)] = interpreter
        self.links[str(PREFIX / "bin" / "python3")] = name
        self.links[str(PREFIX / "bin" / "python")] = name
        stdlib = Path(sysconfig.get_path("stdlib"))
        target = PREFIX / sys.platlibdir / name
        for path in _walk(stdlib):
            self.files[str(target / path.relative_to(stdlib).as_posix())] = path
        modules = [path for path in self.files.values() if path.suffix == ".so"]
        self._add_libraries([interpreter, *modules])

    def add_distributions(self, names: Iterable[str]) -> None:
        modules = []
        for distribution in sorted(_closure(names), key=lambda item: item.name):
            for entry in distribution.files or ():
                source = Path(str(distribution.locate_file(entry)))
                if ".." in entry.parts or not source.is_file() or _other_bytecode(source):
                    continue  # console scripts name an interpreter of this machine
                self.files[str(PACKAGES / PurePosixPath(entry))] = source
                if source.suffix == ".so":
                    modules.append(source)
        self._add_libraries(modules)

    def add_package(self, directory: Path, target: PurePosixPath) -> None:
        for path in sorted(directory.rglob("*")):
            if path.is_file() and path.suffix in {".py", ".typed"}:
                self.files[str(target / path.relative_to(directory).as_posix())] = path

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for target, source in sorted(self.files.items()):
            status = source.stat()
            digest.update(f"{target}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        for target, text in sorted((self.links | self.texts).items()):
            digest.update(f"{target}\0{text}\n".encode())
        for target, mode in sorted(self.directories.items()):
            digest.update(f"{target}\0{mode:o}\n".encode())
        return digest.hexdigest()

    def write(self, archive: tarfile.TarFile, prefix: str) -> None:
        """Write it below a prefix of an archive, owned by root."""
        wanted = {PurePosixPath(target) for target in (*self.files, *self.links, *self.texts)}
        modes = {str(parent): 0o755 for target in wanted for parent in target.parents}
        for target, mode in sorted((modes | self.directories).items()):
            archive.addfile(_entry(prefix + target, tarfile.DIRTYPE, mode))
        for target, text in sorted(self.texts.items()):
            content = text.encode()
            entry = _entry(prefix + target, tarfile.REGTYPE, 0o644)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for target, link in sorted(self.links.items()):
            entry = _entry(prefix + target, tarfile.SYMTYPE, 0o777)
            entry.linkname = link
            archive.addfile(entry)
        for target, source in sorted(self.files.items()):
            status = source.stat()
            executable = status.st_mode & 0o111
            entry = _entry(prefix + target, tarfile.REGTYPE, 0o755 if executable else 0o644)
            entry.size = status.st_size
            entry.mtime = int(status.st_mtime)  # bytecode is valid only with this time
            with source.open("rb") as file:
                archive.addfile(entry, file)

    def _add_libraries(self, programs: Iterable[Path]) -> None:
        for library in shared_libraries(programs):
            if library.name.startswith("ld-"):
                self.files[str(library)] = library.resolve()  # the ELF header names this path
            else:
                self.files[str(PREFIX / "lib" / library.name)] = library.resolve()


def shared_libraries(programs: Iterable[Path]) -> list[Path]:
    found: dict[str, Path] = {}
    for program in programs:
        for line in _ldd(program):
            name, _, rest = line.strip().partition(" => ")
            place = (rest or name).split(" (")[0].strip()
            if place == "not found":
                raise EngineError(
                    f"{program} needs {name}, which is not on this machine",
                    looked_at=f"ldd {program}",
                    remedy=f"install the library that provides {name}",
                )
            if place.startswith("/"):
                found.setdefault(place, Path(place))
    libc = next((path.parent for path in found.values() if path.name.startswith("libc.so")), None)
    for name in _LOADED_BY_NAME if libc is not None else ():
        candidate = libc / name if libc is not None else Path(name)
        if candidate.exists():
            found.setdefault(str(candidate), candidate)
    return sorted(found.values())


def _ldd(program: Path) -> list[str]:
    try:
        answer = subprocess.run(
            ["ldd", str(program)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise EngineError(
            "ldd is missing, so the libraries of a program cannot be found",
            looked_at="PATH",
            remedy="install the C library's tools (libc-bin), or use images from a registry",
        ) from None
    # ldd fails for a static program, with a message that differs between C libraries.
    return answer.stdout.splitlines() if answer.returncode == 0 else []


def _walk(stdlib: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(stdlib):
        names[:] = sorted(
            name
            for name in names
            if name not in _UNWANTED_DIRECTORIES and not name.startswith(("config-", "."))
        )
        for name in sorted(files):
            path = Path(directory) / name
            if name.endswith((".a", ".o", ".exe")) or _other_bytecode(path):
                continue
            if path.suffix == ".so" and name.startswith(_UNWANTED_MODULES):
                continue
            yield path


def _other_bytecode(path: Path) -> bool:
    if path.suffix != ".pyc":
        return False
    tag = f".{sys.implementation.cache_tag}.pyc"
    return not path.name.endswith(tag)


def _closure(names: Iterable[str]) -> list[metadata.Distribution]:
    found: dict[str, metadata.Distribution] = {}
    pending = list(names)
    while pending:
        name = pending.pop()
        key = name.lower().replace("_", "-").replace(".", "-")
        if key in found:
            continue
        try:
            found[key] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise EngineError(
                f"the Python package {name} is not installed, so it cannot be put into an image",
                looked_at=", ".join(sys.path),
                remedy=f"install it: pip install {name}",
            ) from None
        for text in found[key].requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                pending.append(requirement.name)
    return list(found.values())


def _entry(target: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(target.rstrip("/"))
    entry.type = kind
    entry.mode = mode
    entry.uname = entry.gname = "root"
    return entry
