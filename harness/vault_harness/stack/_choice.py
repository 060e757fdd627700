"""Which engine runs the stack of a data directory. Two never run one Vault at once."""

from __future__ import annotations

from vault_harness.commands import named
from vault_harness.engine import EngineName, StackProvider, choose, docker_state, open_provider
from vault_harness.errors import StackError
from vault_harness.settings import Settings
from vault_harness.stack.record import FILE_NAME, StackRecord, StackRecordFile


def provider_here(settings: Settings) -> StackProvider:
    """The engine that runs the stack here; else the one that the settings choose, or ran it last.

    For looking; who changes something asks `provider_wanted`.
    """
    present = _engine_here(settings, StackRecord.load(settings.data_dir))
    if present is not None and (settings.engine == "auto" or _running(settings, present)):
        return _open(settings, present)
    return _open(settings, None)


def provider_wanted(settings: Settings) -> StackProvider:
    """The engine that the settings ask for; for ``auto`` the one that ran the stack last.

    All engines keep Vault's data in the same place, so a stack that was ended goes on with any.

    Raises:
        StackError: Another engine runs it right now.
    """
    present = _engine_here(settings, StackRecord.load(settings.data_dir))
    if present is None or settings.engine in {"auto", present}:
        return _open(settings, present)
    running = _running(settings, present)
    if not running:
        return _open(settings, None)
    raise StackError(
        f"the {present} engine runs the stack here, and HARNESS_ENGINE asks for {settings.engine}",
        looked_at=f"{settings.data_dir / FILE_NAME}; {', '.join(running)}",
        remedy=f"unset HARNESS_ENGINE to use it; or end it, which keeps its data, with "
        f"HARNESS_ENGINE={present} {named('down')}; or name another folder by HARNESS_DATA_DIR",
    )


def reason(settings: Settings, record: StackRecord, provider: StackProvider) -> str:
    """Why that engine, in one line."""
    if settings.engine == "auto" and record.engine == provider.name and record.choice:
        return record.choice
    if settings.engine not in {"auto", provider.name}:
        return f"it runs what is in {settings.data_dir}"
    return choose(settings, lasting=True)[1]


def _engine_here(settings: Settings, record: StackRecord) -> EngineName | None:
    """Who ran the stack last by the record, or without one who runs it."""
    if record.engine is not None:
        return record.engine
    if _running(settings, "process"):
        return "process"
    if docker_state(settings, lasting=True) is None and _running(settings, "docker"):
        return "docker"
    return None


def _running(settings: Settings, engine: EngineName) -> list[str]:
    return [each.detail for each in _open(settings, engine).describe() if each.running]


def _open(settings: Settings, engine: EngineName | None) -> StackProvider:
    return open_provider(settings, StackRecordFile(settings.data_dir), name=engine)
