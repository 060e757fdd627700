"""What subjects that are asked by messages share, whatever carries the messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from vault_harness.boundary import without_frames
from vault_harness.judge.subjects import claims, protocol
from vault_harness.judge.subjects.shape import Credential, OperationFailed, Reading, Whole

T = TypeVar("T")


class Asked(ABC):
    """Turns each operation of a `Subject` into a message, and its answer into a result.

    Attributes:
        ignored: Members of its answer to ``hello`` that nobody reads.
    """

    name: str
    capabilities: frozenset[str]
    declares: Mapping[str, float]
    version: str
    leaves: frozenset[str]
    ignored: tuple[str, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self._told = False

    @abstractmethod
    def _exchange(self, op: str, fields: protocol.Object, timeout: float) -> protocol.Object:
        """Send a message, and wait for its answer.

        Raises:
            SubjectDied: It has ended.
            SubjectHung: There was no answer in time.
            SubjectError: The answer is malformed.
        """

    def _introduced(self, answer: protocol.Object) -> None:
        """Take over what it says of itself; raise `SubjectError` if that is invalid."""
        said = claims.hello(answer)
        self.capabilities = said.capabilities
        self.declares = said.declares
        self.version = said.version
        self.leaves = said.leaves
        self.ignored = said.ignored

    @property
    def reports_outcomes(self) -> bool:
        return self._told or "outcomes" in self.capabilities

    @without_frames
    def read(self, path: str, key: str, *, timeout: float) -> Reading:
        return self._ask("read", {"path": path, "key": key}, protocol.reading, timeout)

    @without_frames
    def read_cached(self, path: str, key: str, *, timeout: float) -> Reading:
        return self._ask("read_cached", {"path": path, "key": key}, protocol.reading, timeout)

    @without_frames
    def read_all(self, path: str, *, timeout: float) -> Whole:
        return self._ask("read_all", {"path": path}, protocol.whole, timeout)

    @without_frames
    def write(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        self._ask("write", {"path": path, "data": dict(data)}, protocol.check, timeout)

    @without_frames
    def lease(self, path: str, failed: str | None = None, *, timeout: float) -> Credential:
        return self._ask("lease", protocol.leasing(path, failed), protocol.credential, timeout)

    @without_frames
    def static(self, path: str, failed: str | None = None, *, timeout: float) -> Credential:
        return self._ask("static", protocol.leasing(path, failed), protocol.credential, timeout)

    @without_frames
    def update(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        self._ask("update", {"path": path, "data": dict(data)}, protocol.check, timeout)

    @without_frames
    def fork(
        self, path: str, key: str, *, seconds: float, every: float, timeout: float
    ) -> Sequence[Reading | OperationFailed]:
        asked = protocol.forking(path, key, seconds, every)
        return self._ask("fork", asked, protocol.forked, timeout)

    @without_frames
    def herd(self, clients: int, *, timeout: float) -> None:
        self._ask("herd", {"clients": clients}, protocol.check, timeout)

    @without_frames
    def read_by(self, client: int, path: str, key: str, *, timeout: float) -> Reading:
        asked = {"path": path, "key": key, "client": client}
        return self._ask("read", asked, protocol.reading, timeout)

    @without_frames
    def health(self, *, timeout: float) -> bool:
        return self._ask("health", {}, protocol.flag, timeout)

    def _ask(
        self,
        op: str,
        fields: protocol.Object,
        understand: Callable[[protocol.Object], T],
        timeout: float,
    ) -> T:
        try:
            return understand(self._exchange(op, fields, timeout))
        except OperationFailed as failure:
            self._told = self._told or failure.outcome is not None
            raise
