"""A Toxiproxy server, its proxies and toxics, as typed objects."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vault_harness.errors import ToxiproxyError
from vault_harness.local.toxiproxy.consumer import Consumer, Refused, Unreachable, quoted
from vault_harness.local.toxiproxy.toxics import Attributes, Other, Stream, read
from vault_harness.waiting import in_words


@dataclass(frozen=True, kw_only=True)
class ConnectionStatus:
    """A client's connection through a proxy. Only the embedded server knows it.

    Attributes:
        client: ``ip:port``.
        opened: Unix seconds.
        closed: Unix seconds; None while it lives.
        bytes_upstream: Delivered to the server.
        bytes_downstream: Delivered to the client.
        received_upstream: Sent by the client, delivered or not.
        received_downstream: Sent by the server, delivered or not.
        toxics: Names of those that affected it, in order.
        end: How it ended; None while it lives.
    """

    id: str
    proxy: str
    client: str
    opened: float
    closed: float | None
    bytes_upstream: int
    bytes_downstream: int
    received_upstream: int
    received_downstream: int
    toxics: tuple[str, ...]
    end: str | None

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> ConnectionStatus:
        return cls(**{**record, "toxics": tuple(record["toxics"])})


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Byte counts of one proxy. The real server counts a connection only after its end."""

    received_upstream: int = 0
    sent_upstream: int = 0
    received_downstream: int = 0
    sent_downstream: int = 0


_SAMPLE = re.compile(r"toxiproxy_proxy_(received|sent)_bytes_total\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def traffic(metrics: str, proxy: str) -> Traffic:
    sums: dict[str, int] = {}
    for kind, labels, value in _SAMPLE.findall(metrics):
        found = {name: re.sub(r"\\(.)", _unescape, text) for name, text in _LABEL.findall(labels)}
        if found.get("proxy") == proxy:
            key = f"{kind}_{found['direction']}"
            sums[key] = sums.get(key, 0) + int(float(value))
    return Traffic(**sums)


def _unescape(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]


POLL = 0.01


class Toxiproxy:
    """A Toxiproxy server, embedded or real. Thread-safe. Raises only `ToxiproxyError`."""

    def __init__(self, url: str = "http://127.0.0.1:8474", timeout: float = 5.0) -> None:
        self._consumer = Consumer(url, timeout)

    def __repr__(self) -> str:
        return f"Toxiproxy({self.url!r})"

    @property
    def url(self) -> str:
        return self._consumer.url

    def version(self) -> str:
        return str(self._consumer.request("get", "/version")["version"])

    def wait_ready(self, timeout: float = 5.0) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.version()
            except Unreachable as error:
                if time.monotonic() >= deadline:
                    raise Unreachable(
                        f"{error.cause}; waited {in_words(timeout)} for it to be ready",
                        looked_at=error.looked_at,
                        remedy=error.remedy,
                    ) from None
                time.sleep(POLL)
            else:
                return

    def proxies(self) -> dict[str, Proxy]:
        answer = self._consumer.request("get", "/proxies")
        return {name: Proxy(self._consumer, state) for name, state in answer.items()}

    def proxy(self, name: str) -> Proxy:
        return Proxy(self._consumer, self._consumer.request("get", f"/proxies/{quoted(name)}"))

    def create(
        self, name: str, *, listen: str = "127.0.0.1:0", upstream: str, enabled: bool = True
    ) -> Proxy:
        """Make a proxy. For port 0, `Proxy.listen` tells the chosen one.

        `upstream` (``host:port``) is resolved for each connection.
        """
        quoted(name)
        body = {"name": name, "listen": listen, "upstream": upstream, "enabled": enabled}
        return Proxy(self._consumer, self._consumer.request("post", "/proxies", body))

    def populate(self, proxies: Iterable[Mapping[str, object]]) -> list[Proxy]:
        """Make several proxies from mappings with the arguments of `create`.

        A proxy with the same addresses is kept, with its toxics and connections.
        """
        answer = self._consumer.request("post", "/populate", [dict(proxy) for proxy in proxies])
        return [Proxy(self._consumer, state) for state in answer["proxies"] or []]

    def reset(self) -> None:
        """Enable all proxies and remove all toxics."""
        self._consumer.request("post", "/reset")

    def connections(self, proxy: str | None = None) -> list[ConnectionStatus] | None:
        """Return live and recent connections; None from a real server."""
        path = "/harness/connections" + (f"?proxy={quoted(proxy)}" if proxy is not None else "")
        try:
            answer = self._consumer.request("get", path)
        except Refused as error:
            if error.status == 404:
                return None
            raise
        return [ConnectionStatus.read(record) for record in answer["connections"]]

    def traffic(self, proxy: str) -> Traffic | None:
        """Return a proxy's byte counts; None if the server's metrics are off."""
        try:
            return traffic(self._consumer.text("/metrics"), proxy)
        except Refused as error:
            if error.status == 404:
                return None
            raise


class Proxy:
    """A proxy, as of the last request. `listen` has the real port once it was enabled."""

    def __init__(self, consumer: Consumer, state: Mapping[str, Any]) -> None:
        self._consumer = consumer
        self.name: str = state["name"]
        self._take(state)

    def __repr__(self) -> str:
        addresses = f"listen={self.listen!r}, upstream={self.upstream!r}"
        return f"Proxy({self.name!r}, {addresses}, enabled={self.enabled})"

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.listen.rpartition(":")
        host = host.strip("[]")
        return ("127.0.0.1" if host in {"", "::"} else host, int(port))

    def enable(self) -> None:
        """Listen again, with the same toxics."""
        self.update(enabled=True)

    def disable(self) -> None:
        """Cut every connection and refuse new ones; toxics stay."""
        self.update(enabled=False)

    def update(
        self, *, listen: str | None = None, upstream: str | None = None, enabled: bool | None = None
    ) -> None:
        """Change the given values. Another address cuts every connection."""
        given = {"listen": listen, "upstream": upstream, "enabled": enabled}
        body = {key: value for key, value in given.items() if value is not None}
        self._take(self._consumer.request("post", self._path, body))

    def refresh(self) -> None:
        self._take(self._consumer.request("get", self._path))

    def delete(self) -> None:
        """Cut every connection and delete the proxy."""
        self._consumer.request("delete", self._path)

    @contextlib.contextmanager
    def disabled(self) -> Iterator[Proxy]:
        """Disable the proxy for the length of the block."""
        self.disable()
        try:
            yield self
        finally:
            self.enable()

    def toxics(self) -> list[Toxic]:
        """Return its toxics, upstream ones first, in order of effect."""
        answer = self._consumer.request("get", f"{self._path}/toxics")
        return [Toxic(self, self._consumer, state) for state in answer]

    def add(
        self,
        attributes: Attributes,
        stream: Stream = "downstream",
        toxicity: float = 1.0,
        name: str | None = None,
    ) -> Toxic:
        """Add a toxic, which also affects live connections.

        Args:
            attributes: For example ``Latency(latency=100)``.
            toxicity: Share of connections that it affects, 0 to 1.
            name: ``<type>_<stream>`` by default.
        """
        if isinstance(attributes, Other):
            raise ToxiproxyError(
                "a toxic of an unknown type cannot be added",
                looked_at=repr(attributes),
                remedy="use one of the classes in vault_harness.local.toxiproxy",
            )
        body = {
            "name": f"{attributes.type}_{stream}" if name is None else name,
            "type": attributes.type,
            "stream": stream,
            "toxicity": toxicity,
            "attributes": attributes.as_json(),
        }
        quoted(str(body["name"]))
        state = self._consumer.request("post", f"{self._path}/toxics", body)
        return Toxic(self, self._consumer, state)

    @contextlib.contextmanager
    def toxic(
        self,
        attributes: Attributes,
        stream: Stream = "downstream",
        toxicity: float = 1.0,
        name: str | None = None,
    ) -> Iterator[Toxic]:
        """Add a toxic for the length of the block; it may be removed inside."""
        toxic = self.add(attributes, stream, toxicity, name)
        try:
            yield toxic
        finally:
            try:
                toxic.remove()
            except Refused as error:
                if error.status != 404:
                    raise

    @property
    def _path(self) -> str:
        return f"/proxies/{quoted(self.name)}"

    def _take(self, state: Mapping[str, Any]) -> None:
        self.listen: str = state["listen"]
        self.upstream: str = state["upstream"]
        self.enabled: bool = state["enabled"]


class Toxic:
    """A toxic of a proxy, as of the last request."""

    def __init__(self, proxy: Proxy, consumer: Consumer, state: Mapping[str, Any]) -> None:
        self._consumer = consumer
        self.proxy = proxy
        self.name: str = state["name"]
        self.type: str = state["type"]
        self.stream: str = state["stream"]
        self._take(state)

    def __repr__(self) -> str:
        where = f"stream={self.stream!r}, toxicity={self.toxicity}"
        return f"Toxic({self.name!r}, {self.attributes!r}, {where})"

    def update(
        self,
        attributes: Attributes | None = None,
        *,
        toxicity: float | None = None,
        **changes: int,
    ) -> None:
        """Change attributes or toxicity at once: all, or single ones such as ``latency=200``."""
        if attributes is None:
            known = {field.name for field in dataclasses.fields(self.attributes)}
            unknown = changes.keys() - known
            if unknown and not isinstance(self.attributes, Other):
                raise ToxiproxyError(
                    f"a {self.type} toxic has no {', '.join(sorted(unknown))}",
                    looked_at=f"its attributes: {', '.join(sorted(known)) or 'none'}",
                    remedy="change one of these",
                )
        elif attributes.type != self.type:
            raise ToxiproxyError(
                f"a {self.type} toxic cannot become a {attributes.type}",
                looked_at=repr(self),
                remedy="remove it and add the other",
            )
        else:
            changes = {**attributes.as_json(), **changes}
        body: dict[str, object] = {"attributes": changes}
        if toxicity is not None:
            body["toxicity"] = toxicity
        self._take(self._consumer.request("post", self._path, body))

    def remove(self) -> None:
        """Remove it. Held data is delivered at once, but `Timeout` closes connections."""
        self._consumer.request("delete", self._path)

    @property
    def _path(self) -> str:
        return f"/proxies/{quoted(self.proxy.name)}/toxics/{quoted(self.name)}"

    def _take(self, state: Mapping[str, Any]) -> None:
        self.toxicity: float = state["toxicity"]
        self.attributes: Attributes = read(self.type, state["attributes"])
