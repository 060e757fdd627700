"""The lines of ``env`` make a shell use this stack, whatever it used before."""

from __future__ import annotations

import os

from tests.running import ran
from vault_harness.local.stack.env import export_lines

FILES = {
    "VAULT_ADDR": "http://127.0.0.1:8201",
    "VAULT_ROLE_ID_FILE": "/a folder/it's-role-id",
    "VAULT_SECRET_ID_FILE": "/a folder/it's-secret-id",
}


def after(variables: dict[str, str], shell: dict[str, str]) -> dict[str, str]:
    environ = {"PATH": os.environ["PATH"], **shell}
    done = ran(
        ["/bin/sh", "-euc", f"{export_lines(variables, shell)}\nexec env -0"],
        env=environ,
        check=True,
    )
    pairs = (each.partition("=") for each in done.stdout.split("\0"))
    return {name: value for name, _, value in pairs if name.startswith("VAULT_")}


def test_nothing_is_left_of_a_stack_that_spoke_tls() -> None:
    """Their files may be gone."""
    tls = {
        "VAULT_CACERT": "/gone/ca.pem",
        "VAULT_CLIENT_CERT": "/gone",
        "VAULT_CLIENT_KEY": "/gone",
    }
    assert after(FILES, {"VAULT_ADDR": "https://127.0.0.1:1", **tls}) == FILES


def test_ids_that_are_values_go_before_no_file_of_before() -> None:
    """Clients prefer files, so their variables are unset."""
    ids = {"VAULT_ADDR": "http://127.0.0.1:8201", "VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}
    assert after(ids, FILES) == ids


def test_what_says_nothing_of_a_stack_stays() -> None:
    """Variables about a client's patience stay."""
    own = {"VAULT_CLIENT_TIMEOUT": "3s", "VAULT_MAX_STALE": "1h"}
    assert after(FILES, own) == FILES | own
    assert "unset" not in export_lines(FILES, own)
