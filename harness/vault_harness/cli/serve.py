"""Serve cases and Vaults for tests in other languages."""

from __future__ import annotations

import signal

from vault_harness.cli.command import command
from vault_harness.cli.common import ENGINE, settings, use_engine, wrong
from vault_harness.cli.printing import say
from vault_harness.errors import PortTaken
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
        "engine": ENGINE,
    },
)
def serve(port: int = 0, at_once: int = 2, engine: str | None = None) -> None:
    """Lend Vaults and scenarios to tests in any language.

    It prints two URLs, and ends with Ctrl-C. A POST to URL/vaults lends a Vault that your test may
    break (`docs how-to/lend-a-vault`). A POST to URL/cases/TOK-11 starts a scenario for your own
    test runner (`docs how-to/own-test-runner`).
    """
    from vault_harness.fixtures.lending import Lender
    from vault_harness.judge.cases import CaseServer
    from vault_harness.judge.cases.server import functions_in
    from vault_harness.judge.catalogue import find_catalogue, load
    from vault_harness.judge.environment import open_environment
    from vault_harness.judge.subjects import parse_subject
    from vault_harness.settings import scenarios_folder

    use_engine(engine)
    if not at_once or port > LAST_PORT:
        mistake = f"--port {port}" if at_once else "--at-once 0"
        raise wrong(
            f"{mistake} does not make sense",
            f"give a port up to {LAST_PORT}, and one case at once at least",
        )
    folder = scenarios_folder()
    catalogue = load(find_catalogue(folder / "test_.py"))
    functions = functions_in(folder)
    with (
        open_environment(settings(), parse_subject("reference"), seed=0) as environment,
        Lender(settings()) as lender,
    ):
        try:
            server = CaseServer(
                environment,
                {n: (catalogue[n], f) for n, f in functions.items() if n in catalogue},
                port=port,
                at_once=at_once,
                others={"vaults": lender.handle},
            )
        except OSError as error:
            raise PortTaken(
                f"cases cannot be served on 127.0.0.1:{port}: {error.strerror}",
                looked_at=f"--port {port}",
                remedy="name another port, or leave it out for any free one",
            ) from error
        with server:
            say(f"cases at {server.url}")
            say(f"vaults at {server.url}/vaults")
            try:
                signal.pause()
            except KeyboardInterrupt as interrupt:
                say("ending the cases that are under way, what is lent, and their servers")
                number = interrupt.number if isinstance(interrupt, Ended) else signal.SIGINT
    raise SystemExit(128 + number)
