"""The route from a client to Vault: a breakable Toxiproxy, then the recorder."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vault_harness.judge.faults import NetworkFaults
from vault_harness.local.engine.shape import Engine, ToxiproxyProcess
from vault_harness.local.stack.launching import Stack
from vault_harness.local.toxiproxy.client import Toxiproxy
from vault_harness.recorder.fault import Choice, Interference, RequestKind, Stub
from vault_harness.recorder.history import History
from vault_harness.recorder.recorder import Recorder
from vault_harness.recorder.secrets import Secrets

Answers = Callable[[RequestKind, str], Stub | None]
"""Returns the answer in Vault's place, or None for Vault's own."""


@dataclass(frozen=True)
class Request:
    """A request that reached the recorder."""

    at: float
    method: str
    path: str


class Route:
    """One test's route to Vault, through a Toxiproxy that several tests share."""

    def __init__(self, engine: Engine, toxiproxy: ToxiproxyProcess, stack: Stack) -> None:
        self._history = History()
        self._recorder = Recorder(self._history, Secrets(), upstream=stack.node.upstream)
        self._proxy = Toxiproxy(toxiproxy.api).create(
            f"way-{self._recorder.port}",
            listen=toxiproxy.listen(),
            upstream=engine.reachable_from_toxiproxy(self._recorder.port),
        )
        self._listen = toxiproxy.reachable(self._proxy.listen)
        self._network = NetworkFaults(self._proxy, self._history)

    @property
    def address(self) -> str:
        return f"{'http' if self._recorder.tls is None else 'https'}://{self._listen}"

    def secure(self, context: ssl.SSLContext) -> None:
        """Speak TLS with that certificate from the next connection on."""
        self._recorder.tls = context

    @property
    def requests(self) -> list[Request]:
        """All requests in order, on the clock of `time.monotonic`."""
        return [
            Request(self._history.started + one.began, one.method, one.path)
            for one in list(self._history.exchanges)
        ]

    @property
    def open_connections(self) -> int:
        return len(self._recorder.ends)

    def count(self, part: str, since: float = 0.0) -> int:
        return len(self.matching(part, since))

    def matching(self, part: str, since: float = 0.0) -> list[Request]:
        return [one for one in self.requests if part in one.path and one.at >= since]

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        with self._network.down():
            yield

    @contextlib.contextmanager
    def black_hole(self) -> Iterator[None]:
        """Accept everything and answer nothing. Connections end afterwards."""
        with self._network.black_hole():
            yield

    @contextlib.contextmanager
    def dripping(self, seconds: float) -> Iterator[None]:
        with self._network.drip(pause=seconds):
            yield

    @contextlib.contextmanager
    def cutting(self, size: int) -> Iterator[None]:
        """End connections after that many bytes of answers, and open ones at once."""
        self.break_connections()
        with self._network.truncated(after=size):
            yield
        self.break_connections()

    @contextlib.contextmanager
    def slow(self, latency: float) -> Iterator[None]:
        with self._network.slow(latency=latency):
            yield

    @contextlib.contextmanager
    def answering(self, answers: Answers | Stub) -> Iterator[None]:
        """Answer in Vault's place: always, or when ``answers`` returns an answer."""
        always = answers if isinstance(answers, Stub) else None
        asked = answers if callable(answers) else lambda _kind, _path: always
        with self._recorder.interfere(_Answering(asked)):
            yield

    @contextlib.contextmanager
    def losing_answer(self, path: str, *, nth: int) -> Iterator[None]:
        """Lose the answer to the n-th request for this path, after Vault has acted on it."""
        lost = Interference("losing", Choice(path=path, nth=nth), loses=True)
        with self._recorder.interfere(lost):
            yield

    def break_connections(self) -> None:
        self._network.drop_connections()

    def close(self) -> None:
        """Close everything. The recorder must have understood all that passed."""
        self._proxy.delete()
        self._recorder.close()
        assert self._recorder.defects == []


class _Answering(Interference):
    """Answers as told. The recorder asks and answers in one thread, request by request."""

    def __init__(self, answers: Answers) -> None:
        super().__init__("answering", Choice())
        self._answers = answers

    def takes(self, kind: RequestKind, path: str) -> bool:
        self.stub = self._answers(kind, path)
        return self.stub is not None


def http(status: int, body: str = "", **headers: str) -> Stub:
    """``Retry_After`` is the header ``Retry-After``."""
    return Stub(
        status=status,
        body=body.encode(),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
