"""Try an application: start it, break things, and say what it did."""

from __future__ import annotations

import json as json_module
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli.command import Seconds, command
from vault_harness.cli.common import local_stack
from vault_harness.cli.printing import say
from vault_harness.errors import named

if TYPE_CHECKING:
    from vault_harness.operator.trial import Step


@command(
    "try",
    group="break it",
    takes=("command",),
    needs=("command",),
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
    command: str | None = None,
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
    from vault_harness.errors import HarnessError
    from vault_harness.interrupts import telling_what_is_left
    from vault_harness.operator.trial import START_SECONDS, Trial, no_fault

    assert command is not None, "the command line asks for it"
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
        say(
            json_module.dumps(
                {"service": chosen, "code": code, "steps": [asdict(one) for one in steps]}, indent=2
            )
        )
    if code:
        raise SystemExit(code)


def _tell(json: bool, text: str) -> None:
    if not json:
        say(text)


def _line(step: Step) -> str:
    counts = ", ".join(f"{count} x {what}" for what, count in step.requests.items())
    return f"{step.fault:<8} {step.verdict:<14} {step.told}\n{'':24}requests: {counts or 'none'}"
