"""Faults by hand, for the first look at what a client does: small, and undone by ``heal``."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from vault_harness.cli._command import Seconds, command
from vault_harness.cli._common import (
    LEAVE_SEALED,
    local_stack,
    opened_by,
    see_that_all_answered,
)
from vault_harness.cli._console import plural, say
from vault_harness.commands import named

if TYPE_CHECKING:
    from vault_harness.faults import Act
    from vault_harness.toxiproxy import Attributes, Proxy
    from vault_harness.vault import Operator

_TOXIC = "by-hand"
"""Name of the toxic of these tasks: there is one at a time, and `heal` takes all away."""


@command(
    "break.latency",
    group="break it",
    takes=("milliseconds",),
    examples=("break.latency", "break.latency 3000 --jitter 500"),
    help={
        "milliseconds": "how late each answer comes; 1000 if nothing is said",
        "jitter": "milliseconds more or less, drawn for each piece",
    },
)
def latency(milliseconds: int | None = None, jitter: int = 0) -> None:
    """Let each answer of Vault come late."""
    from vault_harness.toxiproxy import Latency

    late = 1000 if milliseconds is None else milliseconds
    _set(Latency(latency=late, jitter=jitter))
    _tell(f"answers come {late} ms late" + (f", give or take {jitter} ms" if jitter else ""))


@command(
    "break.slow",
    group="break it",
    takes=("rate",),
    examples=("break.slow", "break.slow 10"),
    help={"rate": "kilobytes a second; 1 if nothing is said, 0 holds everything back"},
)
def slow(rate: int | None = None) -> None:
    """Let Vault's answers trickle through a narrow line."""
    from vault_harness.toxiproxy import Bandwidth

    chosen = 1 if rate is None else rate
    _set(Bandwidth(rate=chosen))
    _tell(f"answers pass at {chosen} kB a second" if chosen else "answers are held back")


@command("break.cut", group="break it", examples=("break.cut",))
def cut() -> None:
    """Cut the network: connections end, new ones are refused."""
    for proxy in _proxies():
        proxy.disable()
    _tell("connections through Toxiproxy are cut")


_TARGET = (
    "what they are for: login, renew, read, write, credential, lease, lookup, revoke, unwrap, "
    "metadata, capabilities, status, other, several by comma; or health, or any, alone"
)
_WHICH = {
    "first": "the first so many, counted from now on",
    "nth": "that one alone",
    "every": "3 is the third, the sixth and so on",
    "path": "a pattern for the path after /v1/, '*/data/backend/celery'",
}


@command(
    "break.fail",
    group="break it",
    takes=("target",),
    needs=("target",),
    examples=(
        "break.fail login --first 2",
        "break.fail read,write --every 3 --status 500",
        "break.fail read --path '*/data/backend/celery'",
    ),
    help={"target": _TARGET, "status": "HTTP status of the answer, 503 by default", **_WHICH},
)
def fail(
    target: str | None = None,
    status: int = 503,
    first: int | None = None,
    nth: int | None = None,
    every: int | None = None,
    path: str | None = None,
) -> None:
    """Answer requests with an error; Vault never gets them."""
    _order("fail", target, status=status, first=first, nth=nth, every=every, path=path)


@command(
    "break.delay",
    group="break it",
    takes=("target", "seconds"),
    needs=("target",),
    examples=("break.delay renew --nth 2 --seconds 3", "break.delay login 500ms"),
    help={"target": _TARGET, "seconds": "how late; 2 if nothing is said", **_WHICH},
)
def delay(
    target: str | None = None,
    seconds: Seconds | None = None,
    first: int | None = None,
    nth: int | None = None,
    every: int | None = None,
    path: str | None = None,
) -> None:
    """Let answers to requests come late; Vault does them at once."""
    late = 2.0 if seconds is None else seconds
    _order("delay", target, by=late, first=first, nth=nth, every=every, path=path)


@command(
    "break.lose-answer",
    group="break it",
    takes=("target",),
    needs=("target",),
    examples=("break.lose-answer write", "break.lose-answer renew --first 1"),
    help={"target": _TARGET, **_WHICH},
)
def lose_answer(
    target: str | None = None,
    first: int | None = None,
    nth: int | None = None,
    every: int | None = None,
    path: str | None = None,
) -> None:
    """Lose answers to requests; Vault does them all the same."""
    _order("lose answer", target, first=first, nth=nth, every=every, path=path)


@command(
    "break.seal",
    group="break it",
    examples=("break.seal", "break.seal --leave-sealed"),
    help={"leave-sealed": LEAVE_SEALED},
)
def seal(leave_sealed: bool = False) -> None:
    """Seal Vault; heal unseals it again."""
    opener = local_stack().seal(leave_sealed=leave_sealed)
    _tell("Vault is sealed and answers 503", undo=None if opener == "keys" else opened_by(opener))


@command(
    "break.revoke",
    group="break it",
    takes=("role",),
    needs=("role",),
    examples=("break.revoke backend",),
    help={"role": "the AppRole, for example backend"},
)
def revoke(role: str | None = None) -> None:
    """Revoke all tokens of an AppRole.

    Its clients get 403 until they log in again. The tokens are gone for good; secret-ids and
    secrets are as before.
    """
    from vault_harness.errors import SettingsError
    from vault_harness.vault.root import needing_root

    assert role is not None, "the command line asks for it"
    stack = local_stack()
    with closing(stack.operator()) as op, needing_root(op, named("break.revoke", role)):
        known = _listed(op, "auth/approle/role")
        if role not in known:
            raise SettingsError(
                f"there is no AppRole {role}",
                looked_at=f"the AppRoles of {op.address}",
                remedy=f"name one of {', '.join(known)}" if known else named("seed"),
            )
        revoked = _revoke_tokens(op, role)
    say(f"{plural(revoked, 'token')} of {role} revoked: they cannot come back")
    say("a client that survives this logs in anew; its secret-id is as good as before")


@command("heal", group="break it", examples=("heal",))
def heal() -> None:
    """Undo what was broken by hand.

    Toxics and faults of single requests are removed, the proxy lets connections through, nodes
    that were cut off reach the others, Vault is unsealed.
    """
    stack = local_stack()
    undone = stack.heal()
    for line in undone:
        say(line)  # now: the keys to unseal with may not be here
    found = stack.status()
    if found.sealed or any(node.role == "sealed" for node in found.nodes):
        done = stack.unseal()
        say("unsealed Vault")
        see_that_all_answered(done, stack)
    elif not undone:
        say("nothing was broken")


def _listed(op: Operator, path: str) -> list[str]:
    found = op.request("LIST", path).get("data", {}).get("keys", [])
    return [str(name) for name in found]


def _revoke_tokens(op: Operator, role: str) -> int:
    """Revoke what the logins of a role gave out; returns how many tokens that were."""
    from vault_harness.vault import accessors

    revoked = 0
    for accessor in accessors.living(op):
        found = accessors.look_up(op, accessor) or {}
        if (found.get("meta") or {}).get("role_name") == role:
            revoked += accessors.revoke(op, accessor)
    return revoked


def _proxies() -> list[Proxy]:
    """The proxies in front of the stack's nodes."""
    from vault_harness.toxiproxy import Toxiproxy

    return list(Toxiproxy(local_stack().endpoints().toxiproxy).proxies().values())


def _set(attributes: Attributes) -> None:
    """Put a toxic on the answers, in place of one that these tasks put there before."""
    for proxy in _proxies():
        for toxic in proxy.toxics():
            if toxic.name == _TOXIC:
                toxic.remove()
        proxy.add(attributes, name=_TOXIC)


def _order(
    act: Act,
    target: str | None,
    *,
    status: int = 503,
    by: float = 0.0,
    first: int | None,
    nth: int | None,
    every: int | None,
    path: str | None,
) -> None:
    """Let a fault of single requests be in force."""
    from vault_harness.faults import Order
    from vault_harness.stack import RequestFaults

    assert target is not None, "the command line asks for it"
    order = Order.from_json(
        {
            "act": act,
            "targets": target.split(","),
            "status": status,
            "by": by,
            "path": path,
            "first": first,
            "nth": nth,
            "every": every,
        }
    )
    RequestFaults(local_stack()).set(order.to_json())
    _tell(str(order))


def _tell(what: str, *, undo: str | None = None) -> None:
    say(what)
    say("clients that go through Toxiproxy feel it; seen from here:")
    say(f"  {named('status')}")
    say(f"to undo it: {undo or named('heal')}")
