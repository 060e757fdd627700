import io
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from vault_harness.errors import EngineError
from vault_harness.local.images.rootfs import PACKAGES, PREFIX, Rootfs, shared_libraries

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="images hold Linux programs")


def written(rootfs: Rootfs) -> tarfile.TarFile:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        rootfs.write(archive, "rootfs")
    file.seek(0)
    return tarfile.open(fileobj=file)


@pytest.fixture(scope="module")
def python() -> Rootfs:
    rootfs = Rootfs.bare()
    rootfs.add_python()
    return rootfs


def test_the_loader_is_where_programs_look_for_it(python: Rootfs) -> None:
    """ELF headers name its path."""
    loaders = [Path(target) for target in python.files if Path(target).name.startswith("ld-")]
    assert loaders
    assert all(python.files[str(loader)] == loader.resolve() for loader in loaders)


def test_python_has_what_a_server_imports(python: Rootfs) -> None:
    names = {Path(target).name for target in python.files}
    assert {"ssl.py", "selectors.py", "__init__.py"} <= names
    assert any(name.startswith("libc.so") for name in names)
    assert any(name.startswith("libssl.so") for name in names)


def test_tests_and_foreign_packages_of_python_are_left_out(python: Rootfs) -> None:
    inside = str(PREFIX)
    parts = {
        part for target in python.files if target.startswith(inside) for part in Path(target).parts
    }
    assert not parts & {"test", "idlelib", "site-packages", "ensurepip"}
    assert sum(path.stat().st_size for path in python.files.values()) < 150e6


def test_distributions_come_with_what_they_require() -> None:
    """Console scripts are left out."""
    rootfs = Rootfs()
    rootfs.add_distributions(["hvac"])
    site = str(PACKAGES)
    packages = {target.removeprefix(f"{site}/").split("/")[0] for target in rootfs.files}
    assert {"hvac", "requests", "urllib3", "certifi", "idna"} <= packages
    assert not any("/bin/" in target for target in rootfs.files)


def test_a_package_that_is_not_here_is_named() -> None:
    with pytest.raises(EngineError, match="no-such-distribution"):
        Rootfs().add_distributions(["no-such-distribution"])


def test_a_static_program_needs_no_library(tmp_path: Path) -> None:
    """`ldd` fails on it."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert shared_libraries([script]) == []


def test_a_dynamic_program_brings_its_libraries() -> None:
    shell = shutil.which("sh")
    assert shell is not None
    assert any(path.name.startswith("libc.so") for path in shared_libraries([Path(shell)]))


def test_everything_is_writable_by_root_only(python: Rootfs) -> None:
    """The umask does not matter."""
    with written(python) as archive:
        entries = archive.getmembers()
    assert {(entry.uid, entry.uname) for entry in entries} == {(0, "root")}
    loose = {entry.name for entry in entries if entry.mode & 0o022 and not entry.issym()}
    assert loose == {"rootfs/tmp"}


def test_every_directory_is_there_before_its_files(python: Rootfs) -> None:
    """The engine would choose the mode of a missing directory."""
    seen = set()
    with written(python) as archive:
        for entry in archive:
            parent = str(Path(entry.name).parent)
            assert parent in seen or entry.name == "rootfs"
            seen.add(entry.name)


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    rootfs = Rootfs.bare()
    rootfs.files["/file"] = file
    first = rootfs.fingerprint()
    assert rootfs.fingerprint() == first
    file.write_text("another")
    assert rootfs.fingerprint() != first
