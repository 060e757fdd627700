"""Small faults by hand, which ``heal`` undoes, and the task ``try``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli.command import Seconds, command, option
from vault_harness.cli.common import LEAVE_SEALED, local_stack, opened_by, see_that_all_answered
from vault_harness.cli.printing import plural, say, say_json
from vault_harness.errors import HarnessError, SettingsError, named
from vault_harness.interrupts import Ended, telling_what_is_left, uninterrupted, until_ctrl_c
from vault_harness.waiting import in_words

if TYPE_CHECKING:
    from vault_harness.judge.faults import Act
    from vault_harness.local.toxiproxy.client import Proxy
    from vault_harness.local.toxiproxy.toxics import Attributes
    from vault_harness.local.vault.admin import VaultAdmin
    from vault_harness.operator.trial import Step

_TOXIC = "by-hand"
"""There is one at a time, and `heal` removes all."""

_FOR = {
    "for": "wait this long, then undo it, as Ctrl-C does earlier; if the task is killed, "
    "heal undoes it"
}


@command(
    "break.latency",
    group="break it",
    takes=("milliseconds",),
    examples=("break.latency", "break.latency 3000 --jitter 500"),
    help={
        "milliseconds": "how late each answer comes; default 1000",
        "jitter": "random milliseconds more or less, for each piece",
        **_FOR,
    },
)
def latency(milliseconds: int | None = None, jitter: int = 0, for_: Seconds | None = None) -> None:
    """Let each answer of Vault come late."""
    from vault_harness.local.toxiproxy.toxics import Latency

    late = 1000 if milliseconds is None else milliseconds
    what = f"answers come {late} ms late" + (f", give or take {jitter} ms" if jitter else "")
    _break(what, lambda: _set(Latency(latency=late, jitter=jitter)), _unset, for_)


@command(
    "break.slow",
    group="break it",
    takes=("rate",),
    examples=("break.slow", "break.slow 10"),
    help={"rate": "kilobytes a second; default 1, 0 holds everything back", **_FOR},
)
def slow(rate: int | None = None, for_: Seconds | None = None) -> None:
    """Limit the rate of Vault's answers."""
    from vault_harness.local.toxiproxy.toxics import Bandwidth

    chosen = 1 if rate is None else rate
    what = f"answers pass at {chosen} kB a second" if chosen else "answers are held back"
    _break(what, lambda: _set(Bandwidth(rate=chosen)), _unset, for_)


@command(
    "break.cut", group="break it", examples=("break.cut", "break.cut --for 10s"), help={**_FOR}
)
def cut(for_: Seconds | None = None) -> None:
    """Cut the network: connections end, new ones are refused."""

    def act() -> None:
        for proxy in _proxies():
            proxy.disable()

    def undo() -> None:
        for proxy in _proxies():
            proxy.enable()

    _break("connections through Toxiproxy are cut", act, undo, for_)


_TARGET = (
    "what the requests are for: login, renew, read, write, credential, lease, lookup, revoke, "
    "unwrap, metadata, capabilities, status, other, several with commas; or health or any, alone"
)


@dataclass(frozen=True)
class Which:
    """Which requests a fault meets, and for how long."""

    first: int | None = option("only this many requests, counted from now")
    nth: int | None = option("only this request")
    every: int | None = option("3 means the third, the sixth and so on")
    path: str | None = option("a pattern for the path after /v1/, '*/data/backend/celery'")
    for_: Seconds | None = option(_FOR["for"])


@command(
    "break.fail",
    group="break it",
    examples=(
        "break.fail login --first 2",
        "break.fail read,write --every 3 --status 500",
        "break.fail read --path '*/data/backend/celery'",
    ),
    help={"target": _TARGET, "status": "HTTP status of the answer, 503 by default"},
)
def fail(target: str, status: int = 503, *, which: Which) -> None:
    """Answer requests with an error; they never reach Vault."""
    _order("fail", target, which, status=status)


@command(
    "break.delay",
    group="break it",
    takes=("target", "seconds"),
    examples=("break.delay renew --nth 2 --seconds 3", "break.delay login 500ms"),
    help={"target": _TARGET, "seconds": "how late; default 2s"},
)
def delay(target: str, seconds: Seconds | None = None, *, which: Which) -> None:
    """Delay answers to requests; Vault acts at once."""
    _order("delay", target, which, by=2.0 if seconds is None else seconds)


@command(
    "break.lose-answer",
    group="break it",
    examples=("break.lose-answer write", "break.lose-answer renew --first 1"),
    help={"target": _TARGET},
)
def lose_answer(target: str, *, which: Which) -> None:
    """Lose answers to requests; Vault acts on the requests."""
    _order("lose answer", target, which)


@command(
    "break.seal",
    group="break it",
    examples=("break.seal", "break.seal --for 10s", "break.seal --leave-sealed"),
    help={"leave-sealed": LEAVE_SEALED, **_FOR},
)
def seal(leave_sealed: bool = False, for_: Seconds | None = None) -> None:
    """Seal Vault; heal unseals it again."""
    openers: list[str] = []

    def act() -> None:
        opener = local_stack().seal(leave_sealed=leave_sealed)
        openers.append(named("heal") if opener == "keys" else opened_by(opener))

    def undo() -> None:
        stack = local_stack()
        see_that_all_answered(stack.unseal(), stack)

    _break("Vault is sealed and answers 503", act, undo, for_, healed_by=openers)


@command(
    "break.revoke",
    group="break it",
    examples=("break.revoke backend",),
    help={"role": "the AppRole, for example backend"},
)
def revoke(role: str) -> None:
    """Revoke all tokens of an AppRole. Nothing undoes that.

    Its clients get 403 until they log in again. Secret-ids and secrets stay the same.
    """
    from vault_harness.local.vault.tokens import needing_root

    stack = local_stack()
    with closing(stack.operator()) as op, needing_root(op, named("break.revoke", role)):
        known = op.request("LIST", "auth/approle/role").get("data", {}).get("keys", [])
        if role not in known:
            raise SettingsError(
                f"there is no AppRole {role}",
                looked_at=f"the AppRoles of {op.address}",
                remedy=f"name one of {', '.join(known)}" if known else named("seed"),
            )
        revoked = _revoke_tokens(op, role)
    say(f"{plural(revoked, 'token')} of {role} revoked: they cannot come back")
    say("a client that survives this logs in again; its secret-id is still valid")


@command("heal", group="break it", examples=("heal",))
def heal() -> None:
    """Undo what was broken by hand.

    This removes toxics and faults of single requests, enables the proxies, reconnects nodes that
    were cut off, and unseals Vault.
    """
    stack = local_stack()
    undone = stack.heal()
    for line in undone:
        say(line)  # now, since the unseal keys may be missing
    found = stack.status()
    if found.sealed or any(node.role == "sealed" for node in found.nodes):
        done = stack.unseal()
        say("unsealed Vault")
        see_that_all_answered(done, stack)
    elif not undone:
        say("nothing was broken")


def _revoke_tokens(op: VaultAdmin, role: str) -> int:
    from vault_harness.local.vault import tokens

    revoked = 0
    for accessor in tokens.living(op):
        found = tokens.look_up(op, accessor) or {}
        if (found.get("meta") or {}).get("role_name") == role:
            revoked += tokens.revoke(op, accessor)
    return revoked


def _proxies() -> list[Proxy]:
    from vault_harness.local.toxiproxy.client import Toxiproxy

    return list(Toxiproxy(local_stack().endpoints().toxiproxy).proxies().values())


def _set(attributes: Attributes) -> None:
    """Put a toxic on the answers, in place of an earlier one of these tasks."""
    _unset()
    for proxy in _proxies():
        proxy.add(attributes, name=_TOXIC)


def _unset() -> None:
    for proxy in _proxies():
        for toxic in proxy.toxics():
            if toxic.name == _TOXIC:
                toxic.remove()


def _order(act: Act, target: str, which: Which, *, status: int = 503, by: float = 0.0) -> None:
    from vault_harness.judge.faults import Order

    order = Order.from_json(
        {
            "act": act,
            "targets": target.split(","),
            "status": status,
            "by": by,
            "path": which.path,
            "first": which.first,
            "nth": which.nth,
            "every": which.every,
        }
    )
    told, stack = order.to_json(), local_stack()
    _break(
        str(order),
        lambda: stack.fault_requests(told),
        lambda: stack.end_request_fault(told),
        which.for_,
    )


def _break(
    what: str,
    act: Callable[[], None],
    undo: Callable[[], None],
    seconds: Seconds | None,
    *,
    healed_by: list[str] | None = None,
) -> None:
    """Break something, and undo it after so many seconds, with Ctrl-C or a signal.

    Without ``seconds`` it stays broken; ``healed_by`` says after ``act`` what undoes it.
    """
    if seconds is None:
        act()
        say(what)
        say("clients that go through Toxiproxy notice it; to see it from here:")
        say(f"  {named('status')}")
        say(f"to undo it: {healed_by[0] if healed_by else named('heal')}")
        return

    def mend() -> None:
        with uninterrupted():
            undo()
        say(f"undone: {what}")

    try:
        with until_ctrl_c():
            act()
            say(f"{what}, for {in_words(seconds)}; Ctrl-C undoes it earlier")
            threading.Event().wait(seconds)
    except Ended:
        mend()
        raise
    mend()


@command(
    "try",
    group="break it",
    judges=True,
    examples=(
        "try 'python manage.py runserver' --service backend",
        "try './app --port 8000' --health http://127.0.0.1:8000/health --for 20s",
    ),
    help={
        "command": "what starts your application, in quotes",
        "service": "whose variables it gets (env SERVICE); default the blueprint's first",
        "health": "a URL of your application that answers below 400 while it is well",
        "for": "how long each fault lasts, and then its end is watched; default 10s",
        "only": "some of cut, latency, seal, revoke, rotate, with commas",
        "log": "a file for the application's output",
        "json": "for programs",
    },
)
def try_(
    command: str,
    service: str | None = None,
    health: str | None = None,
    for_: Seconds = 10.0,
    only: str | None = None,
    log: str | None = None,
    json: bool = False,
) -> None:
    """Start an application, break things, and say what it did.

    Connections are refused, answers come 2 s late, Vault is sealed, the token is revoked, and the
    secret-id is replaced. Ctrl-C stops the application and mends everything.

    Exit code 0: it worked again after each fault; 1: it ended, stayed unhealthy, or its requests
    failed for ever; 2: it asked Vault for nothing, so a fault proved nothing.
    """
    from vault_harness.operator.trial import START_SECONDS, Trial, no_fault

    stack = local_stack()
    blueprint = stack.blueprint()
    chosen = service or next(iter([*blueprint.services, *blueprint.approles]), "")
    trial = Trial(
        *(stack, command),
        service=chosen,
        health=health,
        seconds=for_,
        log=Path(log) if log else None,
    )
    wanted = only.split(",") if only else [*trial.faults]
    for name in wanted:
        if name not in trial.faults:
            raise no_fault(name, [*trial.faults])

    def left() -> str:
        return f"Vault is sealed: {named('unseal')}" if stack.status().sealed else ""

    steps: list[Step] = []
    with telling_what_is_left(left, but=(HarnessError,)), trial:
        began = trial.start()
        if began is None:
            lacks = "logged in" + (f" and {health} answered well" if health else "")
            _tell(json, f"in {START_SECONDS:g} s it has not {lacks}: nothing was broken")
        else:
            _tell(json, f"it runs as {chosen}, and has logged in after {began:.1f} s")
            for name in wanted:
                steps.append(trial.step(name))
                _tell(json, _line(steps[-1]))
                if steps[-1].told.startswith("the command "):
                    break  # it is dead
    found = {step.verdict for step in steps} or {"not exercised"}
    code = 1 if "broken" in found else 2 if "not exercised" in found else 0
    if json:
        say_json({"service": chosen, "code": code, "steps": [asdict(one) for one in steps]})
    if code:
        raise SystemExit(code)


def _tell(json: bool, text: str) -> None:
    if not json:
        say(text)


def _line(step: Step) -> str:
    counts = ", ".join(f"{count} x {what}" for what, count in step.requests.items())
    return f"{step.fault:<8} {step.verdict:<14} {step.told}\n{'':24}requests: {counts or 'none'}"


@command(
    "seal.now",
    group="break it",
    default=True,
    examples=("seal", "seal --leave-sealed"),
    help={"leave-sealed": LEAVE_SEALED},
)
def seal_now(leave_sealed: bool = False) -> None:
    """Seal Vault: it answers 503 until it is unsealed."""
    opener = local_stack().seal(leave_sealed=leave_sealed)
    say(f"Vault is sealed\nnext: {opened_by(opener)}")
