from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from invoke.context import Context

from vault_harness.cli import stack as stack_module


def stack_that_starts(names: list[str], before: list[str]) -> Any:
    """Its `up` is interrupted once these servers run."""
    running = list(before)

    def up(**_options: object) -> None:
        running[:] = names
        raise KeyboardInterrupt

    def describe() -> list[SimpleNamespace]:
        return [SimpleNamespace(name=name, running=True) for name in running]

    provider = SimpleNamespace(describe=describe)
    return SimpleNamespace(
        up=up,
        provider=lambda: provider,
        migrations=SimpleNamespace(pending=lambda: None),
        status=None,
    )


@pytest.mark.parametrize(
    ("names", "before", "says"),
    [
        (["vault"], [], "its servers run on, and Vault may be sealed: invoke up goes on"),
        ([], [], "nothing is half-written"),
        (["vault"], ["vault"], "nothing is half-written"),
    ],
    ids=["begun", "none", "all ran before"],
)
def test_servers_that_still_run_are_named(
    names: list[str],
    before: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A person may think that they ended."""
    monkeypatch.setattr(stack_module, "local_stack", lambda: stack_that_starts(names, before))

    with pytest.raises(SystemExit) as ended:
        stack_module.up(Context())

    assert ended.value.code == 130
    assert says in capsys.readouterr().err
