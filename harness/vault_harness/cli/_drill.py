"""The task of exercising a disaster."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from vault_harness.cli._backup import keys_here
from vault_harness.cli._command import command
from vault_harness.cli._common import local_stack
from vault_harness.cli._console import plural, say, table
from vault_harness.cli._restore import tell


@command(
    "drill",
    group="operator",
    examples=("drill", "drill --keep exercise/", "drill --seal static"),
    help={
        "keep": "leave the exercise's files in this folder instead of removing them",
        "seal": "then migrate the copy's seal to this one and back: shamir, static, transit, "
        "awskms, azurekeyvault",
    },
)
def drill(keep: str | None = None, seal: str | None = None) -> None:
    """Exercise a disaster with a copy of Vault.

    Back up, start anew elsewhere (as many nodes as there are; one with --seal), restore, compare.
    The running Vault is only read. Roles log in to the copy. Prints how long recovery would take.
    With --seal the copy's seal is migrated there and back too, and all secrets are compared under
    each.
    """
    from vault_harness import files
    from vault_harness.cli._stack import seal_kind
    from vault_harness.engine import open_engine, run_directory, seal_stanza
    from vault_harness.stack import SealDrill, let_copy_reach_key, needs_world
    from vault_harness.vault.backup import backup_name
    from vault_harness.vault.backup import drill as exercise

    stack = local_stack()
    target, present = seal_kind(seal), seal_stanza(stack.data_dir)
    with run_directory() as temporary:
        directory = Path(keep).absolute() / backup_name() if keep else temporary
        files.make_private(directory)
        if keep:  # before anything is there: whatever becomes of the exercise, it stays
            files.keep_from_git(directory)
            say(f"{directory} will have this Vault's unseal keys and tokens, readable as they are")
            say(f"in {stack.data_dir}: keep it as safe, and remove it when you have seen enough")
        with (
            stack.held(),
            closing(stack.operator()) as op,
            open_engine(
                stack.settings.model_copy(update={"engine": stack.provider().name}),
                directory=temporary / "engine",
                outward=needs_world(present, [target] if target else []),
            ) as engine,
        ):
            let_copy_reach_key(engine, stack.provider(), present)
            then = None
            if target is not None:
                then = SealDrill(
                    engine=engine, target=target, directory=directory / "seal", say=say
                )
                then.check(next(iter(present), "shamir"))
            report = exercise(
                op,
                keys_here(stack),
                engine,
                stack.blueprint(),
                directory,
                seal=present,
                nodes=len(stack.endpoints().nodes) if then is None else 1,
                say=say,
                then=then,
            )
    say()
    say(table([(step, f"{seconds:7.2f} s") for step, seconds in report.steps]))
    if report.comparison is not None:
        tell(report.comparison)
    for kind, found in report.seals.items():
        say(f"{plural(found.same, 'secret')} the same under the seal {kind}")
    say(f"AppRoles that logged in: {', '.join(report.logins) or 'none'}")
    say(f"from the loss to a Vault that serves: {report.seconds_to_recover:.1f} s")
    if report.problems:
        for problem in report.problems:
            say(f"problem: {problem}")
        raise SystemExit(1)
    say("the backup would have saved the day")
