"""Tasks for the integration guide's services beside the stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault_harness.cli.command import command
from vault_harness.cli.common import local_stack
from vault_harness.cli.printing import say, table

if TYPE_CHECKING:
    from vault_harness.local.stack.example_services import ExampleServices


@command(
    "services.up",
    group="every day",
    examples=("services.up", "services.up --direct"),
    help={"direct": "let them reach Vault itself instead of through Toxiproxy"},
)
def up(direct: bool = False) -> None:
    """Start the guide's services beside the stack.

    They run as processes or containers, like the stack. Each logs in with its own ids and reads
    a secret through Toxiproxy. The task waits until all are healthy. `down` ends them too.
    """
    from vault_harness.local.stack.example_services import ExampleServices

    stack = local_stack()
    services = ExampleServices(stack)
    stack.endpoints()
    services.write_credentials(stack.blueprint())
    services.start(through_toxiproxy=not direct)
    _tell(services)


@command("services.status", group="every day", examples=("services.status",))
def status() -> None:
    """Show whether the example services are healthy.

    Each row has a fingerprint of the service's secret.
    """
    from vault_harness.local.stack.example_services import ExampleServices

    _tell(ExampleServices(local_stack()))


@command("services.down", group="every day", examples=("services.down",))
def down() -> None:
    """Stop the example services; the stack stays up."""
    from vault_harness.local.stack.example_services import ExampleServices

    ended = ExampleServices(local_stack()).stop()
    say(f"ended {', '.join(ended)}" if ended else "nothing was running")


def _tell(services: ExampleServices) -> None:
    prints = services.fingerprints()
    rows = [
        (one.name, one.health, one.status or "-", one.url or "-", prints.get(one.name, "-"))
        for one in services.describe()
    ]
    say(table([("service", "health", "status", "address", "fingerprint"), *rows]))
