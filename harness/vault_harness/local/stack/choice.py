"""Choose the engine of a data directory's stack, never two at once."""

from __future__ import annotations

from vault_harness.errors import SettingsError, StackError, named
from vault_harness.local.engine.choice import choose, docker_state
from vault_harness.local.engine.process.stack import ProcessStack
from vault_harness.local.engine.provider import Memory, StackProvider
from vault_harness.local.engine.shape import EngineName
from vault_harness.local.stack.record import FILE_NAME, StackRecord, StackRecordFile
from vault_harness.settings import Settings


def provider_here(settings: Settings) -> StackProvider:
    """Return the engine that runs the stack, or would run it. Only for reading."""
    present = _engine_here(settings, StackRecord.load(settings.data_dir))
    if present is not None and (settings.engine == "auto" or _running(settings, present)):
        return _open(settings, present)
    return _open(settings, None)


def provider_wanted(settings: Settings) -> StackProvider:
    """Return the engine to change something with. Any engine can continue a stopped stack."""
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
    if settings.engine == "auto" and record.engine == provider.name and record.choice:
        return record.choice
    if settings.engine not in {"auto", provider.name}:
        return f"it runs what is in {settings.data_dir}"
    return choose(settings, lasting=True)[1]


def _engine_here(settings: Settings, record: StackRecord) -> EngineName | None:
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


def open_provider(
    settings: Settings, memory: Memory, *, name: EngineName | None = None
) -> StackProvider:
    """Return the provider of ``invoke up``. `name` is the engine that already runs the stack."""
    chosen = name or choose(settings, lasting=True)[0]
    if chosen == "docker":
        from vault_harness.local.engine.docker.cluster import DockerCluster

        return DockerCluster(settings, memory)
    if chosen == "external":
        raise SettingsError(
            "an external Vault is somebody else's: it cannot be brought up or down from here",
            looked_at="HARNESS_ENGINE=external",
            remedy="unset HARNESS_ENGINE for a Vault of your own; scenarios can use this one",
        )
    return ProcessStack(settings, memory)
