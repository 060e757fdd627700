from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.running import ran
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.stack.local import LocalStack

pytestmark = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "--mount", "--map-root-user", "true"], check=False).returncode
    != 0,
    reason="no folder can be made read-only here without its servers noticing",
)

_MOUNT = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'


def task(stack: LocalStack, *words: str) -> tuple[int, str]:
    begin = ["unshare", "--mount", "--map-root-user", "sh", "-c", _MOUNT, "sh"]
    done = ran(
        [*begin, str(stack.data_dir), sys.executable, "-m", "vault_harness", *words], env=os.environ
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_it_is_sealed_opened_healed_and_ended(stack: LocalStack) -> None:
    stack.up()
    stack.seed(Blueprint.default(), environ={})
    for words, said in (
        (("seal",), "Vault is sealed"),
        (("unseal",), "Vault is unsealed"),
        (("break.latency", "1"), "late"),
        (("heal",), ""),
        (("down",), "ended Vault"),
    ):
        code, told = task(stack, *words)
        assert (code, said in told) == (0, True), told

    code, told = task(stack, "destroy", "--yes")

    assert code == 1
    assert f"looked at: {stack.data_dir}/" in told
    assert "read-only" in told
    stack.up()
    stack.operator().close()
