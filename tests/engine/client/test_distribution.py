from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.engine.client.lab import Lab

PROJECT = Path(__file__).parents[3] / "harness" / "resilient_vault_client"

MOST_MEGABYTES = 35.0

pytestmark = pytest.mark.slow

READING = """
import importlib.util, os, sys
for name in ("hvac", "requests", "urllib3", "pytest"):
    assert importlib.util.find_spec(name) is None, name
from importlib.metadata import version
import resilient_vault_client
from resilient_vault_client import VaultClient
assert version("resilient-vault-client")
with VaultClient() as vault:
    assert vault.get_secret(os.environ["TEST_PATH"], "KEY") == os.environ["TEST_VALUE"]
assert "vault_harness" not in sys.modules
print(resilient_vault_client.__file__)
"""


def run(
    *command: str | Path, cwd: Path | None = None, environ: dict[str, str] | None = None
) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def closure(requirements: list[str]) -> dict[str, metadata.Distribution]:
    found: dict[str, metadata.Distribution] = {}
    todo = [Requirement(text) for text in requirements]
    while todo:
        requirement = todo.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if requirement.name not in found:
            one = found[requirement.name] = metadata.distribution(requirement.name)
            assert requirement.specifier.contains(one.version), requirement
            todo += [Requirement(text) for text in one.requires or ()]
    return found


class Fresh:
    """An empty virtual environment, made without a package registry."""

    def __init__(self, directory: Path) -> None:
        run(sys.executable, "-m", "venv", "--without-pip", directory)
        self.python = directory / "bin" / "python"
        self.site = next((directory / "lib").glob("python*/site-packages"))

    def install(self, wheel: Path) -> None:
        """Install a wheel, and copies of what its metadata requires."""
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", self.python)
        run(*pip, "install", "--no-index", "--no-deps", "-q", wheel)
        (installed,) = metadata.distributions(name="resilient-vault-client", path=[str(self.site)])
        for distribution in closure(installed.requires or []).values():
            for file in distribution.files or ():
                source, target = Path(str(distribution.locate_file(file))), self.site / file
                if ".." not in file.parts and source.is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(source.read_bytes())

    def read(self, lab: Lab) -> str:
        """Read a secret of a real Vault with it; return the imported file."""
        lab.make_role()
        environ = lab.environ(TEST_PATH=lab.path, TEST_VALUE=lab.value)
        return run(self.python, "-W", "error", "-c", READING, environ=environ).strip()


@pytest.fixture
def fresh(tmp_path: Path) -> Fresh:
    return Fresh(tmp_path / "fresh")


def build(hook: str, directory: Path) -> Path:
    """Build a wheel with one of the hooks that every installer calls."""
    script = f"import sys, hatchling.build as b; print(b.{hook}(sys.argv[1]))"
    return directory / run(sys.executable, "-c", script, directory, cwd=PROJECT).split()[-1]


def test_wheel(lab: Lab, fresh: Fresh, tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", PROJECT, "--no-deps", "--no-build-isolation", "-q", "-w", tmp_path)
    (wheel,) = tmp_path.glob("resilient_vault_client-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    fresh.install(wheel)
    imported = fresh.read(lab)

    assert imported.startswith(str(fresh.site))
    assert "resilient_vault_client/py.typed" in names
    packed = {name.split("/")[1] for name in names if name.startswith("resilient_vault_client/")}
    assert packed == {file.name for file in PROJECT.iterdir() if file.suffix in {".py", ".typed"}}
    assert {name.split("/")[0].split("-")[0] for name in names} == {"resilient_vault_client"}
    size = sum(file.stat().st_size for file in fresh.site.rglob("*") if file.is_file())
    assert size / 1e6 < MOST_MEGABYTES


def test_editable_install(lab: Lab, fresh: Fresh, tmp_path: Path) -> None:
    fresh.install(build("build_editable", tmp_path))

    assert fresh.read(lab) == str(PROJECT / "__init__.py")
