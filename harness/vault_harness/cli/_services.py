"""The integration guide's four services beside the stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault_harness.cli._command import command
from vault_harness.cli._common import local_stack
from vault_harness.cli._console import say, table

if TYPE_CHECKING:
    from vault_harness.stack.example_services import ExampleServices


@command(
    "services.up",
    group="every day",
    examples=("services.up", "services.up --direct"),
    help={"direct": "let them reach Vault itself instead of through Toxiproxy"},
)
def up(direct: bool = False) -> None:
    """Start four example services beside the stack.

    Containers, beside a stack of containers. Each logs in with ids of its own and reads a secret,
    through Toxiproxy. Waits until they are healthy.
    """
    from vault_harness.stack.example_services import ExampleServices

    stack = local_stack()
    services = ExampleServices(stack)
    stack.endpoints()
    services.write_credentials(stack.blueprint())
    services.start(through_toxiproxy=not direct)
    _tell(services)


@command("services.status", group="every day", examples=("services.status",))
def status() -> None:
    """Show whether the example services are healthy.

    With a fingerprint of the secret that each of them has.
    """
    from vault_harness.stack.example_services import ExampleServices

    _tell(ExampleServices(local_stack()))


@command("services.down", group="every day", examples=("services.down",))
def down() -> None:
    """End the example services; the stack stays up."""
    from vault_harness.stack.example_services import ExampleServices

    ended = ExampleServices(local_stack()).stop()
    say(f"ended {', '.join(ended)}" if ended else "nothing was running")


def _tell(services: ExampleServices) -> None:
    prints = services.fingerprints()
    rows = [
        (one.name, one.health, one.status or "-", one.url or "-", prints.get(one.name, "-"))
        for one in services.describe()
    ]
    say(table([("service", "health", "status", "address", "fingerprint"), *rows]))
