"""The attributes of each toxic, as values.

Names and units are those of Toxiproxy's API: milliseconds, except `Slicer.delay`, in microseconds.
`vault_harness.local.toxiproxy.server.toxics` says exactly what each toxic does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

Stream = Literal["upstream", "downstream"]
"""``upstream`` is client to server, ``downstream`` is server to client."""


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """The base of all toxics' attributes. `type` is the toxic's name in the API."""

    type: ClassVar[str]

    def as_json(self) -> dict[str, int]:
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
        jitter: Milliseconds more or less, random for each chunk.
    """

    type: ClassVar[str] = "latency"
    latency: int = 0
    jitter: int = 0


@dataclass(frozen=True, kw_only=True)
class Bandwidth(Attributes):
    """Limits throughput to `rate` kilobytes (1000 bytes) a second; 0 holds everything back."""

    type: ClassVar[str] = "bandwidth"
    rate: int = 0


@dataclass(frozen=True, kw_only=True)
class SlowClose(Attributes):
    """Delays the end of the stream by `delay` milliseconds."""

    type: ClassVar[str] = "slow_close"
    delay: int = 0


@dataclass(frozen=True, kw_only=True)
class Timeout(Attributes):
    """Drops all data, and closes the connection after `timeout` ms without data; 0 never does."""

    type: ClassVar[str] = "timeout"
    timeout: int = 0


@dataclass(frozen=True, kw_only=True)
class ResetPeer(Attributes):
    """Drops the first chunk, and resets the connection `timeout` milliseconds later."""

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
    """Closes the connection after a number of bytes in its direction."""

    type: ClassVar[str] = "limit_data"
    bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Other(Attributes):
    """A toxic of an unknown type, with its attributes as the server shows them."""

    type: ClassVar[str] = ""
    values: Mapping[str, int]

    def as_json(self) -> dict[str, int]:
        return dict(self.values)


KINDS: dict[str, type[Attributes]] = {
    kind.type: kind
    for kind in (Noop, Latency, Bandwidth, SlowClose, Timeout, ResetPeer, Slicer, LimitData)
}


def read(type_name: str, values: Mapping[str, int]) -> Attributes:
    kind = KINDS.get(type_name)
    return Other(values=values) if kind is None else kind(**values)
