"""Run the plugin ``docker compose`` on the files of ``compose/``."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vault_harness.errors import EngineError, PortTaken, ProgramMissing, named
from vault_harness.settings import resources
from vault_harness.waiting import in_words

FILES = ("base.yml", "vault.yml", "toxiproxy.yml")
SERVICES_FILE = "services.yml"
BALANCER_FILE = "ha.yml"
NODES_FILE = "nodes.yml"
SEAL_FILE = "seal-static.yml"
NODE_FILE = "node.yml"
"""The compose files of nodes extend it."""

LABEL_PROJECT = "com.docker.compose.project"
LABEL_SERVICE = "com.docker.compose.service"

_LAST_LINES = 12


NETWORK = "vault"
"""Name in the compose files. The engine puts the project's name before it."""


def project_name(data_dir: Path) -> str:
    """Return a project name, so that two checkouts never share a volume."""
    return "vault-harness-" + hashlib.sha256(str(data_dir).encode()).hexdigest()[:8]


def find_compose() -> tuple[str, ...]:
    command = ("docker", "compose")
    if shutil.which("docker") and _works(command):
        return command
    raise ProgramMissing(
        f"no Compose here, which `{named('up')}` needs on the docker engine",
        looked_at="docker compose version",
        remedy="install the Compose plugin of docker (version 2; the old docker-compose will not "
        "do), or use HARNESS_ENGINE=process",
    )


def env_file_text(project: str, environment: Mapping[str, str], files: Iterable[Path]) -> str:
    """Return an ``--env-file`` that makes docker compose address this stack."""
    variables = {
        "COMPOSE_PROJECT_NAME": project,
        "COMPOSE_FILE": os.pathsep.join(map(str, files)),
        **environment,
    }
    # Single quotes: Compose expands nothing inside them.
    return "".join(f"{name}='{value}'\n" for name, value in variables.items())


def _works(command: Sequence[str]) -> bool:
    try:
        answer = subprocess.run(
            [*command, "version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


class Compose:
    """Runs Compose on one project.

    Args:
        environment: Variables of the compose files, added to those of this process.
    """

    def __init__(self, project: str, environment: Mapping[str, str], files: Iterable[Path]) -> None:
        self.project = project
        self._files = list(files)
        self._environment = dict(environment)
        self._command = find_compose()

    def __call__(self, *arguments: str, services: bool = False, timeout: float = 180.0) -> str:
        """Run Compose and return its output.

        Args:
            arguments: Without global options: ``"up", "-d"``.
            services: Include the example services.
        """
        files = [*self._files, *([resources() / SERVICES_FILE] if services else [])]
        options = [part for file in files for part in ("-f", str(file))]
        command = [*self._command, "-p", self.project, *options, *arguments]
        # COMPOSE_* variables of the shell belong to the user's own projects.
        shell = {n: value for n, value in os.environ.items() if not n.startswith("COMPOSE_")}
        environment = {
            **shell,
            **self._environment,
            # So does a file .env in the current folder.
            "COMPOSE_DISABLE_ENV_FILE": "true",
            # Calls without services.yml must not warn of the services.
            "COMPOSE_IGNORE_ORPHANS": "true",
        }
        try:
            answer = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout,
                env=environment,
            )
        except subprocess.TimeoutExpired as error:
            raise EngineError(
                f"{' '.join(self._command)} {arguments[0]} did not end within {in_words(timeout)}",
                looked_at=_last_lines(error.output or ""),
                remedy="look at the engine: docker ps -a, docker info",
            ) from None
        if answer.returncode != 0:
            raise self._failed(arguments, answer.stdout)
        return answer.stdout

    def _failed(self, arguments: Sequence[str], said: str) -> EngineError:
        kind = EngineError
        if "port is already allocated" in said or "address already in use" in said:
            kind = PortTaken
        return kind(
            f"{' '.join(self._command)} {' '.join(arguments)} failed",
            looked_at=f"its last words:\n{_last_lines(said)}",
            remedy="fix what they report; the compose files are in " + str(resources()),
        )


def _last_lines(text: str | bytes) -> str:
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-_LAST_LINES:])
