from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.errors import ToxiproxyError
from vault_harness.judge.faults import NetworkFaults, flapping
from vault_harness.judge.faults.vault import _drain, _fill
from vault_harness.recorder.fault import Fault, Signature
from vault_harness.waiting import wait_until


class Line:
    """A proxy and a journal that record in order what is done to them."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.refuses: str | None = None

    def _do(self, what: str) -> None:
        self.done.append(what)
        if self.refuses == what:
            raise ToxiproxyError(f"cannot {what}")

    def disable(self) -> None:
        self._do("disable")

    def enable(self) -> None:
        self._do("enable")

    @contextmanager
    def toxic(self, *_: object, **__: object) -> Iterator[SimpleNamespace]:
        self._do("add")
        try:
            yield SimpleNamespace(name="a-toxic")
        finally:
            self._do("remove")

    def begin_fault(
        self,
        name: str,
        signature: Signature,
        detail: Mapping[str, object] | None = None,
        *,
        optional: bool = False,
    ) -> Fault:
        self._do("begin")
        return Fault(name, signature, dict(detail or {}), optional=optional)

    def end_fault(self, fault: Fault) -> None:
        self._do("end")
        fault.ended = 1.0


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def network(line: Line) -> NetworkFaults:
    proxy: Any = line
    return NetworkFaults(proxy, line)


def test_toxic_is_in_force_while_noted(line: Line, network: NetworkFaults) -> None:
    with network.drip(pause=0.4) as fault:
        line.done.append("block")
    assert line.done == ["add", "begin", "block", "remove", "end"]
    assert fault.signature.toxics == {"a-toxic"}


def test_toxic_that_cannot_be_added(line: Line, network: NetworkFaults) -> None:
    """It breaks nothing, so nothing is noted."""
    line.refuses = "add"
    with pytest.raises(ToxiproxyError), network.stalled():
        pytest.fail("it is not in force")
    assert line.done == ["add"]


def test_toxic_that_cannot_be_removed(line: Line, network: NetworkFaults) -> None:
    """The end is noted."""
    line.refuses = "remove"
    with pytest.raises(ToxiproxyError, match="cannot remove"), network.stalled():
        pass
    assert line.done == ["add", "begin", "remove", "end"]


def test_network_down_while_noted(line: Line, network: NetworkFaults) -> None:
    with network.down():
        line.done.append("block")
    assert line.done == ["disable", "begin", "block", "enable", "end"]


@pytest.mark.parametrize(
    ("latency", "jitter", "late"), [(1.0, 0.0, 0.5), (0.6, 0.2, 0.2), (2.0, 2.0, 0.0)]
)
def test_slow_is_late_by_half_of_the_least(
    network: NetworkFaults, latency: float, jitter: float, late: float
) -> None:
    """An answer that took half of the shortest delay was certainly touched."""
    with network.slow(latency=latency, jitter=jitter) as fault:
        assert fault.signature.late == pytest.approx(late)


@pytest.mark.parametrize(
    ("verb", "how", "late"),
    [
        ("down", {}, inf),
        ("black_hole", {}, inf),
        ("stalled", {}, inf),
        ("drip", {"pause": 0.4}, inf),
        ("narrow", {"rate": 2}, inf),
        ("truncated", {"after": 100}, inf),
        ("resets", {}, inf),
        ("slow", {"latency": 0.6, "jitter": 0.2}, 0.8),
    ],
)
def test_network_says_what_becomes_of_answers(
    network: NetworkFaults, verb: str, how: dict[str, Any], late: float
) -> None:
    """All faults except a slow network may lose an answer."""
    with getattr(network, verb)(**how) as fault:
        assert fault.signature.answers_late == pytest.approx(late)


def test_flapping_notes_each_turn(line: Line, network: NetworkFaults) -> None:
    """A turn in whose middle the block ends is undone."""
    with flapping(network.down, on=0.0, off=0.0) as turns:
        wait_until(lambda: len(turns) >= 3, "three turns", timeout=10)
    assert line.done[:4] == ["disable", "begin", "enable", "end"]
    assert line.done.count("begin") == line.done.count("end") == len(turns)


def test_flapping_raises_an_error_of_any_turn(line: Line, network: NetworkFaults) -> None:
    line.refuses = "enable"
    with pytest.raises(ToxiproxyError, match="cannot enable"), flapping(network.down, on=0, off=0):
        pass


def test_fault_lasts_until_it_is_ended() -> None:
    fault = Fault("f", Signature())
    assert (fault.ended, fault.optional) == (None, False)


def test_pipe_is_filled_to_the_last_byte(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        for _ in range(2):
            _fill(pipe)
            with pytest.raises(BlockingIOError):
                os.write(pipe, b"x")
            _drain(pipe)
            assert os.write(pipe, b"x") == 1
            _drain(pipe)
            with pytest.raises(BlockingIOError):
                os.read(pipe, 1)
    finally:
        os.close(pipe)
