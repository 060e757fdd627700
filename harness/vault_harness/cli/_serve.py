"""Cases for clients that are tested by their author's own test runner."""

from __future__ import annotations

import signal

from vault_harness.cli._command import command
from vault_harness.cli._common import settings
from vault_harness.cli._console import say
from vault_harness.interrupts import Ended

LAST_PORT = 65535


@command(
    "serve",
    group="judge",
    judges=True,
    examples=("serve", "serve --port 8210 --at-once 4"),
    help={
        "port": "where to listen on 127.0.0.1, default any free one",
        "at-once": "how many cases may be under way, default 2",
    },
)
def serve(port: int = 0, at_once: int = 2) -> None:
    """Hand out scenarios to a test runner of your own.

    It prints a URL, and ends with Ctrl-C. POST to URL/cases/TOK-11 starts a Vault of its own and
    answers with the variables for your client; `docs subjects` has the rest, and examples.
    """
    from vault_harness.cases import CaseServer
    from vault_harness.cases.functions import functions_in
    from vault_harness.errors import PortTaken, SettingsError
    from vault_harness.scenario import find_catalogue, open_environment
    from vault_harness.scenario.catalogue import load
    from vault_harness.settings import scenarios_folder
    from vault_harness.subjects import parse_subject

    if not at_once or port > LAST_PORT:
        wrong = f"--port {port}" if at_once else "--at-once 0"
        raise SettingsError(
            f"{wrong} does not make sense",
            looked_at="the command line",
            remedy=f"give a port up to {LAST_PORT}, and one case at once at least",
        )
    folder = scenarios_folder()
    catalogue = load(find_catalogue(folder / "test_.py"))
    functions = functions_in(folder)
    with open_environment(settings(), parse_subject("reference"), seed=0) as environment:
        try:
            server = CaseServer(environment, catalogue, functions, port=port, at_once=at_once)
        except OSError as error:
            raise PortTaken(
                f"cases cannot be served on 127.0.0.1:{port}: {error.strerror}",
                looked_at=f"--port {port}",
                remedy="name another port, or leave it out for any free one",
            ) from error
        with server:
            say(f"cases at {server.url}")
            try:
                signal.pause()
            except KeyboardInterrupt as interrupt:
                say("ending the cases that are under way, and their servers")
                number = interrupt.number if isinstance(interrupt, Ended) else signal.SIGINT
    raise SystemExit(128 + number)
