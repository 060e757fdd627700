"""What subjects share that are asked by messages, whatever carries those."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from vault_harness.boundary import without_frames
from vault_harness.subjects import _claims, _protocol
from vault_harness.subjects._shape import Credential, OperationFailed, Reading, Whole

T = TypeVar("T")


class Asked(ABC):
    """Turns each operation into a message, and its answer into what a scenario compares.

    Attributes:
        name: As the command line has it.
        capabilities: What it claims.
        declares: The times by which it asks to be judged, seconds.
        version: Its own, empty where it says none.
        ignored: Members of its answer to ``hello`` that nobody reads.
    """

    name: str
    capabilities: frozenset[str]
    declares: Mapping[str, float]
    version: str
    ignored: tuple[str, ...] = ()
    leaves: Collection[str] = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self._told = False

    @abstractmethod
    def _exchange(self, op: str, fields: _protocol.Object, timeout: float) -> _protocol.Object:
        """Send a message, and wait for its answer.

        Raises:
            SubjectDied: It is not there any more.
            SubjectHung: There is no answer within the time.
            SubjectError: What came is no answer.
        """

    def _introduced(self, answer: _protocol.Object) -> None:
        """Take what it says of itself.

        Raises:
            SubjectError: That makes no sense.
        """
        said = _claims.hello(answer)
        self.capabilities = said.capabilities
        self.declares = said.declares
        self.version = said.version
        self.ignored = said.ignored

    @property
    def tells_outcomes(self) -> bool:
        """Whether it has claimed, or shown by now, that it tells one failure from another."""
        return self._told or "outcomes" in self.capabilities

    @without_frames
    def read(self, path: str, key: str, *, timeout: float) -> Reading:
        """One key of the secret at ``path``."""
        return self._ask("read", {"path": path, "key": key}, _protocol.reading, timeout)

    @without_frames
    def read_cached(self, path: str, key: str, *, timeout: float) -> Reading:
        """The same, from the client's cache if it likes."""
        return self._ask("read_cached", {"path": path, "key": key}, _protocol.reading, timeout)

    @without_frames
    def read_all(self, path: str, *, timeout: float) -> Whole:
        """All keys of the secret at ``path``, as one version has them."""
        return self._ask("read_all", {"path": path}, _protocol.whole, timeout)

    @without_frames
    def write(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        """Store a new version of the secret at ``path``."""
        self._ask("write", {"path": path, "data": dict(data)}, _protocol.check, timeout)

    @without_frames
    def lease(self, path: str, failed: str | None = None, *, timeout: float) -> Credential:
        """The credential of ``path`` that works now; ``failed`` names a user that was refused."""
        return self._ask("lease", _protocol.leasing(path, failed), _protocol.credential, timeout)

    @without_frames
    def update(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        """Change these keys of the secret at ``path``, and keep the others as they are."""
        self._ask("update", {"path": path, "data": dict(data)}, _protocol.check, timeout)

    @without_frames
    def fork(
        self, path: str, key: str, *, seconds: float, every: float, timeout: float
    ) -> Sequence[Reading | OperationFailed]:
        """Fork its process, and let the child read so long and end: what each read came to."""
        asked = _protocol.forking(path, key, seconds, every)
        return self._ask("fork", asked, _protocol.forked, timeout)

    @without_frames
    def herd(self, clients: int, *, timeout: float) -> None:
        """Have so many clients in its process, the one that it began with among them."""
        self._ask("herd", {"clients": clients}, _protocol.check, timeout)

    @without_frames
    def read_by(self, client: int, path: str, key: str, *, timeout: float) -> Reading:
        """What the client of this number reads; the one that it began with is 0."""
        asked = {"path": path, "key": key, "client": client}
        return self._ask("read", asked, _protocol.reading, timeout)

    @without_frames
    def health(self, *, timeout: float) -> bool:
        """Whether the client says that it is well."""
        return self._ask("health", {}, _protocol.flag, timeout)

    def _ask(
        self,
        op: str,
        fields: _protocol.Object,
        understand: Callable[[_protocol.Object], T],
        timeout: float,
    ) -> T:
        try:
            return understand(self._exchange(op, fields, timeout))
        except OperationFailed as failure:
            self._told = self._told or failure.outcome is not None
            raise
