"""The daily tasks: ``invoke --list`` shows them, ``invoke --help TASK`` explains one.

Bodies are thin, and import what they need when they run, so that listing them is quick.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from vault_harness import operations
from vault_harness.console import complain, guarded, say, table

if TYPE_CHECKING:
    from vault_harness.engine import LogName
    from vault_harness.settings import Settings
    from vault_harness.stack import LocalStack, StackStatus
    from vault_harness.stack.example_services import ExampleServices

ROOT = Path(__file__).resolve().parent


def _settings(**overrides: object) -> Settings:
    from vault_harness.settings import Settings

    return Settings.from_environment(**overrides)


def _stack() -> LocalStack:
    from vault_harness.stack import LocalStack

    return LocalStack(_settings())


@task
@guarded
def up(context: Context) -> None:  # noqa: ARG001 -- invoke passes it to every task
    """Bring Vault up: started, initialised, unsealed, Toxiproxy in front. Safe to repeat."""
    stack = _stack()
    stack.up()
    status = stack.status()
    say(f"Vault is up and unsealed: {_product(status)}, {status.engine} engine ({status.choice})")
    say(_addresses(status))
    say(f"next: {status.next_step}")


@task(
    help={
        "blueprint": "a blueprint file of your own instead of the e-commerce one",
        "overwrite": "write everything as the blueprint has it, generated values anew",
    }
)
@guarded
def seed(context: Context, blueprint: str | None = None, overwrite: bool = False) -> None:  # noqa: ARG001 -- as above
    """Fill Vault by the blueprint and write AppRole ids to files; what is there stays."""
    from vault_harness.blueprint import Blueprint

    stack = _stack()
    file = Path(blueprint) if blueprint else stack.settings.blueprint
    plan = Blueprint.load(file) if file else Blueprint.default()
    changes = stack.seed(plan, overwrite=overwrite)
    say(table((change.action, change.kind, change.name, change.detail) for change in changes))
    counts = [
        f"{sum(change.action == action for change in changes)} {action}"
        for action in ("created", "changed", "unchanged")
    ]
    say(f"{plan.name}: {', '.join(counts)}")
    services = ", ".join(plan.services)
    say(f"next: invoke env SERVICE, for one of {services}" if services else "next: invoke status")


@task(help={"json": "for programs"})
@guarded
def status(context: Context, json: bool = False) -> None:  # noqa: ARG001 -- as above
    """Show engine, addresses, sealed or not, seeded or not, proxies and their toxics."""
    found = _stack().status()
    if json:
        say(_dumped(found.to_json()))
        return
    rows = [
        ("state", found.state),
        ("engine", f"{found.engine} ({found.choice})"),
        ("version", _product(found) if found.version else "unknown while it does not answer"),
        ("initialised", _yes(found.initialised)),
        ("sealed", _yes(found.sealed)),
        (
            "seeded",
            f"yes, {found.blueprint}" if found.seeded and found.blueprint else _yes(found.seeded),
        ),
        ("unseal keys", "here" if found.keyring else "not here"),
        *((name, detail or "does not run") for name, detail in found.services.items()),
    ]
    say(table(rows))
    say(_addresses(found))
    for proxy in found.proxies:
        state = "enabled" if proxy.enabled else "disabled"
        say(f"  proxy {proxy.name}: {proxy.listen} -> {proxy.upstream}, {state}")
        for toxic in proxy.toxics:
            values = ", ".join(f"{name}={value}" for name, value in toxic.attributes.items())
            say(
                f"    toxic {toxic.name}: {toxic.type} {toxic.stream} x {toxic.toxicity:g} {values}"
            )
    say(f"next: {found.next_step}")


@task(
    help={
        "service": "backend, celery_worker, celery_beat, api_gateway, ai_services, or an AppRole",
        "reveal": "print the ids themselves instead of the paths of their files",
        "direct": "Vault's own address instead of the one through Toxiproxy",
    }
)
@guarded
def env(context: Context, service: str, reveal: bool = False, direct: bool = False) -> None:  # noqa: ARG001 -- as above
    """Print the export lines for one service: eval "$(invoke env backend)"."""
    from vault_harness.stack import export_lines, service_environment

    say(export_lines(service_environment(_stack(), service, reveal=reveal, direct=direct)))


@task
@guarded
def seal(context: Context) -> None:  # noqa: ARG001 -- as above
    """Seal Vault: it answers 503 to everything until it is unsealed."""
    _stack().seal()
    say("Vault is sealed\nnext: invoke unseal")


@task
@guarded
def unseal(context: Context) -> None:  # noqa: ARG001 -- as above
    """Unseal Vault with the keys in vault-data/init.json."""
    _stack().unseal()
    say("Vault is unsealed")


@task
@guarded
def restart(context: Context) -> None:  # noqa: ARG001 -- as above
    """Restart Vault, as after a crash or an upgrade: it comes back sealed."""
    _stack().restart()
    say("Vault was restarted and is sealed\nnext: invoke unseal")


@task(
    help={
        "service": "vault, toxiproxy or audit",
        "tail": "only the last lines, 50 by default, 0 for all",
        "follow": "go on until Ctrl-C",
    }
)
@guarded
def logs(
    context: Context,  # noqa: ARG001 -- as above
    service: str = "vault",
    tail: int = 50,
    follow: bool = False,
) -> None:
    """Show what a server printed, or the audit log."""
    for line in _stack().logs(_log_name(service), tail=tail or None, follow=follow):
        say(line)


@task
@guarded
def down(context: Context) -> None:  # noqa: ARG001 -- as above
    """End the servers, and what a crashed `up` left; data and keys stay."""
    from vault_harness.engine.docker import sweep_leftovers

    ended = _stack().down()
    if leftovers := sweep_leftovers():
        ended.append(str(leftovers))
    say(f"ended {', '.join(ended)}" if ended else "nothing was running")


@task(help={"yes": "do not ask"})
@guarded
def destroy(context: Context, yes: bool = False) -> None:  # noqa: ARG001 -- as above
    """End the servers and delete data, keys and ids. Asks first."""
    stack = _stack()
    if not yes and not _confirmed(f"delete Vault's data and unseal keys in {stack.data_dir}?"):
        complain("nothing was deleted")
        raise SystemExit(1)
    removed = stack.destroy()
    say("\n".join(f"removed {what}" for what in removed) or "nothing was there")


@task(help={"rebuild": "build also what did not change"})
@guarded
def images(context: Context, rebuild: bool = False) -> None:  # noqa: ARG001 -- as above
    """Build images from programs that are here: container mode without a registry."""
    from vault_harness.engine.docker import connected, inspect_docker
    from vault_harness.images import build_images

    settings = _settings()
    with connected(timeout=300) as client:
        built = build_images(client, settings, rebuild=rebuild, progress=say)
    say(table((one.action, one.tag, f"{one.megabytes} MB", one.contents) for one in built))
    say(inspect_docker(settings, ask_registry=False).line)


@task(name="up", help={"direct": "let them reach Vault itself instead of through Toxiproxy"})
@guarded
def services_up(context: Context, direct: bool = False) -> None:  # noqa: ARG001 -- as above
    """Start the guide's four services beside the stack, and wait until they are healthy."""
    from vault_harness.stack.example_services import ExampleServices

    stack = _stack()
    services = ExampleServices(stack)
    stack.endpoints()
    services.write_credentials(stack.blueprint())
    services.start(through_toxiproxy=not direct)
    _say_services(services)


@task(name="status")
@guarded
def services_status(context: Context) -> None:  # noqa: ARG001 -- as above
    """Show the four services: healthy or not, and the fingerprint of each one's secret."""
    from vault_harness.stack.example_services import ExampleServices

    _say_services(ExampleServices(_stack()))


@task(name="down")
@guarded
def services_down(context: Context) -> None:  # noqa: ARG001 -- as above
    """End the four services; the stack stays up."""
    from vault_harness.stack.example_services import ExampleServices

    ended = ExampleServices(_stack()).stop()
    say(f"ended {', '.join(ended)}" if ended else "nothing was running")


def _say_services(services: ExampleServices) -> None:
    prints = services.fingerprints()
    rows = [
        (one.name, one.health, one.status or "-", one.url or "-", prints.get(one.name, "-"))
        for one in services.describe()
    ]
    say(table([("service", "health", "status", "address", "fingerprint"), *rows]))


@task(
    help={
        "subject": "the client under test: reference, python:MODULE:FACTORY, command:..., http://...",
        "only": "an id (TOK-11), a group (TOK) or a severity (critical); may be repeated",
        "declare": "a time that the client promises, e.g. max_stale=30; may be repeated",
        "seed": "seed of the network faults, as a failure printed it",
        "repeat": "how many times each scenario runs: a verdict that differs is flaky",
        "ttl-scale": "stretch all lives by this factor, for clients made for longer ones",
        "workers": "how many scenarios run side by side",
        "args": "further arguments for pytest",
    },
    iterable=["only", "declare"],
)
@guarded
def scenarios(
    context: Context,  # noqa: ARG001 -- as above
    subject: str | None = None,
    only: list[str] | None = None,
    declare: list[str] | None = None,
    seed: str | None = None,
    repeat: str | None = None,
    ttl_scale: str | None = None,
    workers: int | None = None,
    args: str = "",
) -> None:
    """Break Vault in every way, and judge whether the client under test survives it."""
    options = ["-n", str(_settings(workers=workers).workers)] if workers else []
    options += ["--vault-subject", subject] if subject else []
    options += ["--vault-seed", seed] if seed else []
    options += ["--vault-repeat", repeat] if repeat else []
    options += ["--vault-ttl-scale", ttl_scale] if ttl_scale else []
    options += [word for name in only or [] for word in ("--vault-only", name)]
    options += [word for text in declare or [] for word in ("--vault-declare", text)]
    _pytest("scenarios", *options, *shlex.split(args))


@task(
    help={
        "slow": "the slow ones too",
        "args": "further arguments for pytest, e.g. --args '-k keyring'",
    }
)
@guarded
def test(context: Context, slow: bool = False, args: str = "") -> None:  # noqa: ARG001, PT028 -- a task
    """Test the harness itself."""
    markers = ["-m", ""] if slow else []
    os.environ.pop("HARNESS_RUNNER", None)  # the tests say themselves who runs the tasks
    _pytest("tests", "-n", "2", "--dist", "loadgroup", *markers, *shlex.split(args))


@task
@guarded
def lint(context: Context) -> None:  # noqa: ARG001 -- as above
    """Check style, formatting and types: ruff, mypy."""
    commands = (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"])
    failed = [
        " ".join(command)
        for command in commands
        if subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode
    ]
    if failed:
        complain(f"failed: {', '.join(failed)}")
        raise SystemExit(1)
    say("clean")


@task(help={"name": "toxiproxy, client, engines or fixtures", "args": "further arguments for it"})
@guarded
def bench(context: Context, name: str, args: str = "") -> None:  # noqa: ARG001 -- as above
    """Measure, and print a table with the bars to reach."""
    from vault_harness.errors import SettingsError

    folder = ROOT / "tests" / "bench"
    script = folder / name / "run.py"
    if not script.is_file():
        known = sorted(path.parent.name for path in folder.glob("*/run.py"))
        raise SettingsError(
            f"there is no bench {name}",
            looked_at=str(folder),
            remedy=f"name one of {', '.join(known)}",
        )
    _become(sys.executable, str(script), *shlex.split(args))


def _pytest(folder: str, *arguments: str) -> None:
    # Not from the checkout: relative paths in the arguments are the caller's.
    root = ["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")]
    _become(sys.executable, "-m", "pytest", *root, str(ROOT / folder), *arguments)


def _become(program: str, *arguments: str) -> None:
    """Replace this process, so that signals reach the program itself."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(program, [program, *arguments])  # noqa: S606 -- no shell is wanted


def _confirmed(question: str) -> bool:
    from vault_harness.errors import SettingsError

    if not sys.stdin.isatty():
        raise SettingsError(
            "nobody is there to ask",
            looked_at="standard input",
            remedy="give --yes if you are sure",
        )
    return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}


def _log_name(service: str) -> LogName:
    from vault_harness.errors import SettingsError

    match service:
        case "vault" | "toxiproxy" | "audit":
            return service
    raise SettingsError(
        f"there is no log of {service}",
        looked_at="--service",
        remedy="name one of vault, toxiproxy, audit",
    )


def _dumped(content: object) -> str:
    return json.dumps(content, indent=2)


def _product(found: StackStatus) -> str:
    title = "OpenBao" if found.product == "openbao" else "HashiCorp Vault"
    return f"{title} {found.version}"


def _yes(answer: bool | None) -> str:
    return "unknown" if answer is None else "yes" if answer else "no"


def _addresses(found: StackStatus) -> str:
    if found.address is None:
        return "  it has no addresses yet"
    return table(
        [
            ("Vault", found.address),
            ("Vault through Toxiproxy", found.proxy or ""),
            ("Toxiproxy's API", found.toxiproxy or ""),
        ]
    )


namespace = Collection(
    *(up, seed, status, env, seal, unseal, restart, logs, down, destroy),
    *(images, scenarios, test, lint, bench),
)
operations.add_to(namespace)
namespace.add_collection(Collection("services", services_up, services_status, services_down))
