from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.catalogue import Entry
from vault_harness.judge.logs import LogLine
from vault_harness.judge.record import record_of
from vault_harness.judge.verdict import Verdict, Word
from vault_harness.recorder.secrets import Secrets

TOKEN = "s.abcdefghijkl"

Record = dict[str, Any]


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def record(story: Story) -> Callable[..., Record]:
    def make(
        word: Word = "pass",
        *,
        verdict: Verdict | None = None,
        log: tuple[LogLine, ...] = (),
        id: str = "TOK-11",  # noqa: A002 - it is an id
        why: str = "",
        secret: str = TOKEN,
    ) -> Record:
        secrets = Secrets()
        secrets.add("token", secret)
        entry = Entry(id=id, promise="One login", severity="critical", source="vault#26172")
        lab = SimpleNamespace(
            history=story.history,
            verdict=verdict,
            secrets=secrets,
            ttl=20.0,
            deadline=2.0,
            product="openbao 2.7.2",
            no_closing="",
            said={"version": "", "capabilities": ["read"], "declares": {}},
            log_lines=lambda: list(log),
        )
        environment = SimpleNamespace(
            subject=SimpleNamespace(text="reference"),
            declared={},
            seed=7,
            engine=SimpleNamespace(name="process"),
            ttl_scale=1.0,
            wire="plain",
        )
        record = record_of(cast("Any", environment), entry, cast("Any", lab), word=word, why=why)
        return {**record, "seconds": 1.25}

    return make
