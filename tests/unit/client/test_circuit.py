from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from resilient_vault_client import (
    ClientClosed,
    ConnectionLost,
    ServerFailed,
    VaultError,
    VaultSealed,
    VaultTimeout,
)
from resilient_vault_client._deadline import Backoff, Deadline, Outliving
from resilient_vault_client._errors import SecretNotFound, VaultUnavailable
from resilient_vault_client._retrier import Circuit, Retrier, always
from resilient_vault_client.events import Event, Notifier

SEALED = VaultSealed("sealed", sent=False)


class Setup:
    """A circuit with pauses of a tenth of a second."""

    def __init__(self, cap: float = 0.1) -> None:
        self.events: list[Event] = []
        self.backoff = Backoff(cap)
        self.backoff.learn(None)
        self.circuit = Circuit(self.backoff, Notifier(self.events.append))
        self.retrier = Retrier(self.circuit, self.backoff, timeout=1.0)

    def run(
        self, operation: object, *, seconds: float = 2.0, scope: str = "x", patience: float = 9
    ) -> object:
        return self.retrier.run(
            operation,  # type: ignore[arg-type]  # a function, as the tests give it
            scope=scope,
            deadline=Deadline(seconds, patience),
            repeat=always,
        )

    def fail(self, error: VaultUnavailable = SEALED, scope: str = "x") -> None:
        self.circuit.failed(self.circuit.admit(scope, Deadline(1, 0)), error.again())


def failing(times: int, error: VaultError = SEALED) -> object:
    left = [times]

    def operation() -> str:
        if left[0]:
            left[0] -= 1
            raise error.again()
        return "done"

    return operation


def test_no_error_no_problem() -> None:
    assert Setup().run(failing(0)) == "done"


def test_repeated_until_it_works() -> None:
    """The first answer ends the outage."""
    setup = Setup()
    assert setup.run(failing(3)) == "done"
    assert [event.name for event in setup.events] == ["outage_began", "recovered"]
    assert setup.circuit.outage is None


def test_an_answer_is_no_outage() -> None:
    """It is not repeated and ends an outage."""
    setup = Setup()
    setup.fail()
    with pytest.raises(SecretNotFound):
        setup.run(failing(9, SecretNotFound("no")))
    assert setup.circuit.outage is None


def test_not_longer_than_the_deadline() -> None:
    """The last error is raised."""
    setup = Setup()
    started = time.monotonic()
    with pytest.raises(VaultSealed):
        setup.run(failing(10_000), seconds=0.3)
    assert time.monotonic() - started < 1.0


def test_a_caller_that_does_not_wait_gets_the_error_at_once() -> None:
    setup = Setup(cap=5.0)
    setup.fail()
    with pytest.raises(VaultSealed) as told:
        setup.run(failing(0), patience=0.0)
    assert told.value.echo
    assert told.value.retry_in is not None
    assert 0 < told.value.retry_in <= 5.0


def test_one_probe_for_all() -> None:
    setup = Setup()
    setup.fail()
    probes = []
    release = threading.Event()

    def slow() -> str:
        probes.append(threading.current_thread().name)
        release.wait(5)
        return "done"

    with ThreadPoolExecutor(10) as pool:
        results = [pool.submit(setup.run, slow) for _ in range(10)]
        started = time.monotonic()
        while not probes and time.monotonic() - started < 5:
            time.sleep(0.01)  # until the first thread is let through
        assert len(probes) == 1
        release.set()
        assert [result.result(5) for result in results] == ["done"] * 10


def test_failures_of_one_moment_count_once() -> None:
    """They lengthen the pause once."""
    setup = Setup(cap=60.0)
    permits = [setup.circuit.admit("x", Deadline(1, 0)) for _ in range(100)]
    for permit in permits:
        setup.circuit.failed(permit, SEALED.again())
    outage = setup.circuit.outage
    assert outage is not None
    assert outage.pause < 1.0
    assert len(setup.events) == 1


def test_broken_connection_is_followed_up_sooner() -> None:
    """The pause is shorter than after a seal."""
    pauses = []
    for error in (ConnectionLost("reset"), SEALED):
        setup = Setup(cap=60.0)
        setup.fail(error)
        outage = setup.circuit.outage
        assert outage is not None
        pauses.append(outage.pause)

    assert 0 < pauses[0] < 0.1 < pauses[1]


def test_own_error_of_one_path_is_its_own() -> None:
    """Errors of two paths are an outage."""
    setup = Setup(cap=60.0)
    setup.fail(ServerFailed("500"), scope="a")
    assert setup.circuit.outage is None
    assert setup.run(failing(0), scope="b") == "done"
    with pytest.raises(ServerFailed):
        setup.run(failing(0), scope="a", patience=0.0)
    setup.fail(ServerFailed("500"), scope="c")
    assert setup.circuit.outage is None, "something worked in between"
    setup.fail(ServerFailed("500"), scope="d")
    assert setup.circuit.outage is not None


def test_retry_after_holds_everybody_back() -> None:
    """The pause would be shorter."""
    setup = Setup()
    setup.fail(VaultSealed("later", retry_in=0.5))
    started = time.monotonic()
    assert setup.run(failing(0)) == "done"
    assert time.monotonic() - started >= 0.45


def test_an_earlier_request_does_not_shorten_a_wait() -> None:
    """The wait is that of a Retry-After."""
    setup = Setup()
    under_way = setup.circuit.admit("x", Deadline(1, 0))
    setup.fail(VaultSealed("later", retry_in=0.5))
    started = time.monotonic()
    setup.circuit.succeeded(under_way)
    assert setup.events[-1].name == "outage_began"
    assert setup.run(failing(0)) == "done"
    assert time.monotonic() - started >= 0.45
    assert setup.events[-1].name == "recovered"


def test_no_blame_without_time() -> None:
    """A timeout with hardly any time left is no outage."""
    setup = Setup()
    with pytest.raises(VaultTimeout):
        setup.run(failing(9, VaultTimeout("late")), seconds=0.1, patience=0.0)
    assert setup.circuit.outage is None


def test_most_attempts() -> None:
    """Some errors are retried only a few times."""
    from resilient_vault_client import AnswerTruncated

    setup = Setup()
    count = [0]

    def operation() -> None:
        count[0] += 1
        raise AnswerTruncated("cut")

    with pytest.raises(AnswerTruncated):
        setup.run(operation)
    assert count == [4]


def test_probe_that_is_interrupted_is_given_back() -> None:
    """After Ctrl-C another caller may probe."""
    setup = Setup()
    setup.fail()

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        setup.run(interrupted)
    assert setup.run(failing(0)) == "done"


def test_close_wakes_waiting_callers() -> None:
    setup = Setup(cap=60.0)
    setup.fail(VaultSealed("later", retry_in=50.0))
    heard: list[BaseException] = []

    def wait() -> None:
        try:
            setup.run(failing(0), seconds=60.0, patience=60.0)
        except ClientClosed as error:
            heard.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    setup.circuit.close()
    thread.join(5)
    assert len(heard) == 1


def test_switched_off() -> None:
    """Test mode makes one attempt, without a pause before the next call."""
    events: list[Event] = []
    backoff = Backoff(60.0, active=False)
    retrier = Retrier(Circuit(backoff, Notifier(events.append)), backoff, timeout=1.0)
    for _ in range(3):
        with pytest.raises(VaultSealed):
            retrier.run(
                failing(9),  # type: ignore[arg-type]  # a function, as the tests give it
                scope="x",
                deadline=Deadline(5),
                repeat=always,
            )
    assert events == []


@pytest.mark.parametrize(
    ("seconds", "names"),
    [(1.0, ["outage_began", "recovered", "asked"]), (0.1, ["asked", "outage_began"])],
    ids=["whole", "hurried"],
)
def test_an_attempt_that_outlives_its_call(seconds: float, names: list[str]) -> None:
    """It fails for all others when its call is over, or later after a short call."""
    setup = Setup()
    told: list[VaultError | None] = []
    seen: list[str] = []
    deadline = Outliving(Deadline(seconds, 9.0), 5.0, told.append)

    def ask() -> object:
        assert deadline.goes_on()
        assert deadline.remaining() > 1.0
        setup.circuit.succeeded(setup.circuit.admit("read", Deadline(1.0)))
        assert not deadline.goes_on()
        seen.extend([*(event.name for event in setup.events), "asked"])
        raise VaultTimeout("never")

    with pytest.raises(VaultTimeout, match="never"):
        setup.retrier.run(ask, scope="login", deadline=deadline, repeat=always)
    assert [str(error) for error in told] == ["Vault did not answer in time"]
    later = [event.name for event in setup.events][len(seen) - 1 :]
    assert [*seen, *later] == names


def test_a_call_with_more_time_than_what_it_asks_for() -> None:
    """It does not continue after the request."""
    deadline = Outliving(Deadline(5.0), 1.0, lambda _: None)
    assert not deadline.goes_on()
    assert deadline.remaining() > 1.0
