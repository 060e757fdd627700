"""Tasks for the project itself, in a checkout."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from vault_harness.cli.command import command
from vault_harness.cli.common import one_of
from vault_harness.cli.printing import complain, say
from vault_harness.cli.running import become, run_pytest
from vault_harness.errors import SettingsError


@command(
    "test",
    group="develop",
    examples=("test", "test --slow", "test --args '-k keyring'"),
    help={
        "slow": "the slow ones too",
        "args": "further arguments for pytest, e.g. --args '-k keyring'",
    },
)
def test(slow: bool = False, args: str = "") -> None:  # noqa: PT028 -- a task
    """Test the harness itself."""
    root = _checkout()
    # Most of the time is waiting for servers.
    workers = str(3 * min(os.cpu_count() or 1, 4))
    options = ["-n", workers, "--dist", "loadgroup", *(["-m", ""] if slow else [])]
    os.environ.pop("HARNESS_RUNNER", None)  # the tests set their own
    # Not from the checkout: relative paths in the arguments are the caller's.
    place = ["--rootdir", str(root), "-c", str(root / "pyproject.toml"), str(root / "tests")]
    run_pytest(*place, *options, *shlex.split(args), suite=False)


@command("lint", group="develop", examples=("lint",))
def lint() -> None:
    """Check style, formatting, types and imports."""
    root = _checkout()
    commands = (
        ["ruff", "check"],
        ["ruff", "format", "--check"],
        ["mypy"],
        ["lint-imports", "--no-logo"],
    )
    here = Path(sys.executable).parent
    failed = [
        " ".join(each)
        for each in commands
        if subprocess.run([str(here / each[0]), *each[1:]], cwd=root, check=False).returncode
    ]
    if failed:
        complain(f"failed: {', '.join(failed)}")
        raise SystemExit(1)
    say("clean")


@command("site", group="develop", examples=("site",))
def site() -> None:
    """Build the documents as a site, and check its links.

    The first page is site/index.html. A link that leads nowhere is an error, and so is a page that
    mkdocs.yml does not name.
    """
    mkdocs = [str(Path(sys.executable).parent / "mkdocs"), "build", "--strict"]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    # With --quiet, mkdocs counts no warning, and --strict has no effect.
    done = subprocess.run(
        mkdocs, cwd=_checkout(), env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        complain(done.stderr.rstrip())
        raise SystemExit(1)
    say("written: site/index.html")


@command(
    "bench",
    group="develop",
    examples=("bench toxiproxy", "bench client"),
    help={
        "name": "toxiproxy, client, engines, fixtures, suite or stranger",
        "args": "further arguments for it",
    },
)
def bench(name: str, args: str = "") -> None:
    """Measure, and print a table with the bars to reach."""
    folder = _checkout() / "tests" / "bench"
    known = sorted(path.parent.name for path in folder.glob("*/run.py"))
    script = folder / one_of(known, name, f"there is no bench {name}") / "run.py"
    become(sys.executable, str(script), *shlex.split(args))


def in_a_clone() -> bool:
    """Answer as `settings.checkout`, which loads much for every list of tasks."""
    return (Path(__file__).resolve().parents[3] / "tasks.py").is_file()


def needs_a_clone(task: str = "this task") -> Exception:
    return SettingsError(
        f"{task} works on the project's own files, which an installed package does not have",
        looked_at=str(Path(__file__).parent),
        remedy="run it in a clone of the project",
    )


def _checkout() -> Path:
    from vault_harness.settings import checkout

    root = checkout()
    if root is None:
        raise needs_a_clone()
    return root
