"""The attributes of each toxic, as values.

Times are milliseconds, except `Slicer.delay`, which is microseconds: these are the names and units
of Toxiproxy's own API. `vault_harness.toxiproxy.server.toxics` says precisely what each one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

Stream = Literal["upstream", "downstream"]
"""``upstream`` is client to server, ``downstream`` is server to client."""


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """What all toxics have in common.

    Attributes:
        type: The name of the toxic in the API.
    """

    type: ClassVar[str]

    def as_json(self) -> dict[str, int]:
        """The ``attributes`` object of the API."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Noop(Attributes):
    """Passes everything on."""

    type: ClassVar[str] = "noop"


@dataclass(frozen=True, kw_only=True)
class Latency(Attributes):
    """Delays every chunk.

    Attributes:
        latency: Milliseconds.
        jitter: Milliseconds more or less, drawn for each chunk.
    """

    type: ClassVar[str] = "latency"
    latency: int = 0
    jitter: int = 0


@dataclass(frozen=True, kw_only=True)
class Bandwidth(Attributes):
    """Limits throughput.

    Attributes:
        rate: Kilobytes (1000 bytes) a second; 0 holds everything back.
    """

    type: ClassVar[str] = "bandwidth"
    rate: int = 0


@dataclass(frozen=True, kw_only=True)
class SlowClose(Attributes):
    """Delays the end of the stream.

    Attributes:
        delay: Milliseconds.
    """

    type: ClassVar[str] = "slow_close"
    delay: int = 0


@dataclass(frozen=True, kw_only=True)
class Timeout(Attributes):
    """Swallows all data, and closes the connection when none has come for some time.

    Attributes:
        timeout: Milliseconds; 0 never closes.
    """

    type: ClassVar[str] = "timeout"
    timeout: int = 0


@dataclass(frozen=True, kw_only=True)
class ResetPeer(Attributes):
    """Swallows the first chunk and ends the connection with a TCP reset.

    Attributes:
        timeout: Milliseconds between the two.
    """

    type: ClassVar[str] = "reset_peer"
    timeout: int = 0


@dataclass(frozen=True, kw_only=True)
class Slicer(Attributes):
    """Cuts data into small pieces.

    Attributes:
        average_size: Bytes of a piece, at least 1.
        size_variation: Bytes more or less, at most ``average_size``.
        delay: *Microseconds* after each piece.
    """

    type: ClassVar[str] = "slicer"
    average_size: int
    size_variation: int = 0
    delay: int = 0


@dataclass(frozen=True, kw_only=True)
class LimitData(Attributes):
    """Closes the connection after a number of bytes.

    Attributes:
        bytes: Bytes of its direction, for each connection.
    """

    type: ClassVar[str] = "limit_data"
    bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Other(Attributes):
    """A toxic of a type that is not one of the eight.

    Attributes:
        values: Its attributes as the server shows them.
    """

    type: ClassVar[str] = ""
    values: Mapping[str, int]

    def as_json(self) -> dict[str, int]:
        """The ``attributes`` object of the API."""
        return dict(self.values)


KINDS: dict[str, type[Attributes]] = {
    kind.type: kind
    for kind in (Noop, Latency, Bandwidth, SlowClose, Timeout, ResetPeer, Slicer, LimitData)
}
"""The eight toxics of Toxiproxy by the name of their type."""


def read(type_name: str, values: Mapping[str, int]) -> Attributes:
    """The attributes that the API shows, as a value of their class."""
    kind = KINDS.get(type_name)
    return Other(values=values) if kind is None else kind(**values)
