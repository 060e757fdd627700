from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.engine.operations.test_walking_the_quick_start import (
    STEPS,
    block,
    not_printed,
    opened,
    walk,
)
from vault_harness.local.engine.docker.state import find_image
from vault_harness.local.engine.docker_client import connected
from vault_harness.local.images.build import LOCAL_SERVICES
from vault_harness.local.stack.example_services import SERVICES
from vault_harness.settings import Settings

pytestmark = [pytest.mark.docker, pytest.mark.slow]  # starts a container for each service


def test_the_fifth_command_starts_them(
    settings: Settings, compose: tuple[str, ...], tmp_path: Path
) -> None:
    with connected() as client:
        if find_image(client, LOCAL_SERVICES) is None:
            pytest.skip(f"the image {LOCAL_SERVICES} is not here: invoke images")
    command, _, promised = block("console").removeprefix("$ ").partition("\n")
    commands = [*(one for one, _ in STEPS[:4]), command, "./dev services.status"]
    with opened(tmp_path) as shell:
        shell.environment |= {"HARNESS_ENGINE": "docker", "HARNESS_START_TIMEOUT": "60"}
        shell.environment |= {variable: "0" for _, variable in SERVICES.values()}
        *_, started, shown = walk(shell, commands, deadline=500)
    for printed in (started, shown):
        assert not_printed(promised, printed) == []
        healthy = re.findall(r"^  (\w+) +healthy  ok ", printed, re.MULTILINE)
        assert healthy == list(SERVICES)
