"""No error of a stack's verbs holds a secret, in its text or in a frame.

Every verb of a stack, its nodes and its services is called in states in which it fails. Each error
is walked: its texts and notes, its causes, and all locals of all frames.
"""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.walking import places
from vault_harness import certificates, files
from vault_harness.judge.faults import Order
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.stack import client_path, opening
from vault_harness.local.stack.example_services import ExampleServices
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.nodes import Nodes
from vault_harness.local.vault import approle, cluster
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.apply import Applying
from vault_harness.local.vault.keyring import Keyring

BLUEPRINT = Blueprint.default()

DOINGS: dict[str, Callable[[LocalStack], object]] = {
    "operator": lambda s: s.operator().request("GET", "sys/policies/acl/none"),
    "keyring": lambda s: s.keyring(),
    "what opens it": lambda s: s.opened_by(),
    "what an end would lose": lambda s: s.lost_by_ending(),
    "seal": lambda s: s.seal(),
    "unseal": lambda s: s.unseal(),
    "seed": lambda s: s.seed(BLUEPRINT, Applying(overwrite=True)),
    "disturb requests": lambda s: s.fault_requests(Order(act="fail", targets=("read",)).to_json()),
    "heal": lambda s: s.heal(),
    "status": lambda s: s.status(),
    "blueprint": lambda s: s.blueprint(),
    "restorable": lambda s: s.restorable(),
    "renew the certificate": lambda s: s.renew_certificate(),
    "renew the authority": lambda s: s.renew_certificate(ca=True),
    "logs of nobody": lambda s: list(s.logs("nobody")),
    "nodes: kill": lambda s: Nodes(s).kill("vault-2"),
    "nodes: start": lambda s: Nodes(s).start("vault-2"),
    "nodes: step down": lambda s: Nodes(s).step_down(),
    "nodes: add": lambda s: Nodes(s).add(),
    "nodes: cut": lambda s: Nodes(s).cut("vault-3"),
    "nodes: join": lambda s: Nodes(s).join("vault-3"),
    "nodes: remove": lambda s: Nodes(s).remove("vault-3"),
    "services: ids": lambda s: ExampleServices(s).write_credentials(BLUEPRINT),
    "services: start": lambda s: ExampleServices(s).start(),
    "services: look": lambda s: ExampleServices(s).fingerprints(),
    "services: stop": lambda s: ExampleServices(s).stop(),
    "migrate the seal": lambda s: s.migrate_seal("static"),
    "migrate it back": lambda s: s.migrate_seal("shamir"),
    "restart": lambda s: s.restart(),
    "up": lambda s: s.up(),
    "down": lambda s: s.down(),
    "up again": lambda s: s.up(),
    "down again": lambda s: s.down(),
    "destroy": lambda s: s.destroy(),
    "up from nothing": lambda s: s.up(),
}
"""In order: the verbs that end the stack come last."""


def _change(stack: LocalStack, **new: object) -> None:
    told = json.loads(stack.keyring_path.read_text())
    stack.keyring_path.write_text(json.dumps(told | new))


def _wrong_keys(stack: LocalStack, _: pytest.MonkeyPatch) -> None:
    told = json.loads(stack.keyring_path.read_text())
    stack.seal()
    _change(stack, unseal_keys_b64=told["unseal_keys_b64"][:2])


def _broken_keyring(stack: LocalStack, _: pytest.MonkeyPatch) -> None:
    text = stack.keyring_path.read_text()
    stack.keyring_path.write_text(text[: len(text) // 2])


def _dead_token(stack: LocalStack, _: pytest.MonkeyPatch) -> None:
    _change(stack, root_token="s.dead-token-4711-of-nobody")


def _killed(stack: LocalStack, _: pytest.MonkeyPatch) -> None:
    for process in psutil.process_iter(["cmdline"]):
        if any(str(stack.data_dir / "vault") in part for part in process.info["cmdline"] or []):
            process.kill()
            with contextlib.suppress(psutil.Error):
                process.wait(10)


def _full_disk(_: LocalStack, patch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    for module in (files, certificates):
        patch.setattr(module, "write_private", full)
        patch.setattr(module, "write_text", full)


def _lost_authority(stack: LocalStack, _: pytest.MonkeyPatch) -> None:
    key = stack.authority_directory / certificates.CA_KEY_NAME
    key.write_text(key.read_text()[:100])


def _raising(error: type[BaseException]) -> Callable[[LocalStack, pytest.MonkeyPatch], None]:
    def disturb(stack: LocalStack, patch: pytest.MonkeyPatch) -> None:
        def wrong(*_: object, **__: object) -> None:
            raise error("in the middle of it")

        stack.seal()
        for where, name in (
            (cluster, "unseal_all"),
            (client_path, "ensure_proxies"),
            (opening, "admin_with_token"),
            (certificates, "write_text"),  # while the new key is in memory
            (approle, "write_credentials"),
            (VaultAdmin, "seal"),
            (Keyring, "save"),
        ):
            patch.setattr(where, name, wrong)

    return disturb


STATES: dict[str, Callable[[LocalStack, pytest.MonkeyPatch], None]] = {
    "healthy": lambda _stack, _patch: None,
    "wrong keys": _wrong_keys,
    "broken keyring": _broken_keyring,
    "dead token": _dead_token,
    "killed": _killed,
    "full disk": _full_disk,
    "lost authority": _lost_authority,
    "a bug": _raising(RuntimeError),
    "Ctrl-C": _raising(KeyboardInterrupt),
}


def _secrets(stack: LocalStack) -> set[str]:
    keyring = Keyring.load(stack.keyring_path)
    found = {*keyring.keys, keyring.root_token or "", "s.dead-token-4711-of-nobody"}
    found.add("PRIVATE KEY-----")  # of any key, new ones too
    found |= {path.read_text().strip() for path in stack.data_dir.glob("*-secret-id")}
    return {secret for secret in found if len(secret) > 6}


def _walk(stack: LocalStack, secrets: set[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Return the verbs that raised, and where their errors hold secrets."""
    raised, leaks = [], {}
    for name, doing in DOINGS.items():
        try:
            doing(stack)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it raises
            raised.append(name)
            if found := places(error, secrets, of=__file__):
                leaks[name] = found
    return raised, leaks


@pytest.mark.slow  # a stack for each state
@pytest.mark.parametrize("state", STATES)
def test_no_frame_of_a_stack_s_verbs_holds_a_secret(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """With client certificates, a renewal gets further."""
    stack.up(client_certs=True)
    stack.seed(BLUEPRINT)
    secrets = _secrets(stack)
    STATES[state](stack, monkeypatch)
    raised, leaks = _walk(stack, secrets)
    assert leaks == {}
    # One server has no nodes and no service containers, so those verbs fail in any state.
    own = [name for name in raised if not name.startswith(("nodes", "services"))]
    assert own or state == "healthy", raised
    renewing = {"lost authority", "full disk", "a bug", "Ctrl-C"}
    assert state not in renewing or {"renew the certificate", "renew the authority"} & set(own)


@pytest.mark.slow  # a cluster takes ten seconds
@pytest.mark.usefixtures("haproxy")
@pytest.mark.parametrize("state", ["dead token", "Ctrl-C"])
def test_no_frame_of_a_cluster_s_verbs_holds_a_secret(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """With three nodes the verbs get further."""
    stack.up(ha=True)
    stack.seed(BLUEPRINT)
    secrets = _secrets(stack)
    STATES[state](stack, monkeypatch)
    raised, leaks = _walk(stack, secrets)
    assert leaks == {}
    assert [name for name in raised if name.startswith("nodes")], raised
