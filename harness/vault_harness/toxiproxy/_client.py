"""A Toxiproxy server, its proxies and their toxics, as typed objects."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vault_harness.errors import ToxiproxyError
from vault_harness.toxiproxy._consumer import Consumer, Refused, Unreachable, quoted
from vault_harness.toxiproxy._records import Connection, Traffic, traffic
from vault_harness.toxiproxy._toxics import Attributes, Other, Stream, read

POLL = 0.01
"""Seconds between two looks while waiting for the server."""


class Toxiproxy:
    """A Toxiproxy server, embedded or real. Several can be used at once, from several threads.

    Every method raises `ToxiproxyError`: `Refused` with the server's status and words, or
    `Unreachable`.

    Args:
        url: ``http://host:port`` of its API.
        timeout: Seconds for each request.
    """

    def __init__(self, url: str = "http://127.0.0.1:8474", timeout: float = 5.0) -> None:
        self._consumer = Consumer(url, timeout)

    def __repr__(self) -> str:
        return f"Toxiproxy({self.url!r})"

    @property
    def url(self) -> str:
        """Base URL of its API."""
        return self._consumer.url

    def version(self) -> str:
        """The version that it claims, e.g. ``2.12.0``."""
        return str(self._consumer.request("get", "/version")["version"])

    def wait_ready(self, timeout: float = 5.0) -> None:
        """Wait until it answers.

        Raises:
            Unreachable: It did not within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.version()
            except Unreachable as error:
                if time.monotonic() >= deadline:
                    raise Unreachable(
                        f"{error.cause}; waited {timeout:g} s for it to be ready",
                        looked_at=error.looked_at,
                        remedy=error.remedy,
                    ) from None
                time.sleep(POLL)
            else:
                return

    def proxies(self) -> dict[str, Proxy]:
        """All proxies by name."""
        answer = self._consumer.request("get", "/proxies")
        return {name: Proxy(self._consumer, state) for name, state in answer.items()}

    def proxy(self, name: str) -> Proxy:
        """The proxy of that name."""
        return Proxy(self._consumer, self._consumer.request("get", f"/proxies/{quoted(name)}"))

    def create(
        self, name: str, *, listen: str = "127.0.0.1:0", upstream: str, enabled: bool = True
    ) -> Proxy:
        """Make a proxy.

        Args:
            name: Unique on this server.
            listen: ``host:port``; port 0 picks a free one, which `Proxy.listen` then tells.
            upstream: ``host:port``, looked up for each connection.
            enabled: Whether it listens from the start.
        """
        quoted(name)
        body = {"name": name, "listen": listen, "upstream": upstream, "enabled": enabled}
        return Proxy(self._consumer, self._consumer.request("post", "/proxies", body))

    def populate(self, proxies: Iterable[Mapping[str, object]]) -> list[Proxy]:
        """Make or keep several proxies; each is a mapping as `create` takes it.

        A proxy that exists with the same addresses is kept as it is, toxics and connections
        included.
        """
        answer = self._consumer.request("post", "/populate", [dict(proxy) for proxy in proxies])
        return [Proxy(self._consumer, state) for state in answer["proxies"] or []]

    def reset(self) -> None:
        """Enable every proxy and remove every toxic."""
        self._consumer.request("post", "/reset")

    def connections(self, proxy: str | None = None) -> list[Connection] | None:
        """Live connections and those that ended last, or None: a real server, which cannot tell.

        Args:
            proxy: Only those of that proxy.
        """
        path = "/harness/connections" + (f"?proxy={quoted(proxy)}" if proxy is not None else "")
        try:
            answer = self._consumer.request("get", path)
        except Refused as error:
            if error.status == 404:
                return None
            raise
        return [Connection.read(record) for record in answer["connections"]]

    def traffic(self, proxy: str) -> Traffic | None:
        """Bytes of a proxy from the server's metrics, or None if it was started without them."""
        try:
            return traffic(self._consumer.text("/metrics"), proxy)
        except Refused as error:
            if error.status == 404:
                return None
            raise


class Proxy:
    """A proxy as it was when last asked for; every method that changes it updates it here too.

    Attributes:
        name: Its name.
        listen: ``host:port`` where it listens, with the real port once it has been enabled.
        upstream: ``host:port`` where it connects to.
        enabled: Whether it listens.
    """

    def __init__(self, consumer: Consumer, state: Mapping[str, Any]) -> None:
        self._consumer = consumer
        self.name: str = state["name"]
        self._take(state)

    def __repr__(self) -> str:
        addresses = f"listen={self.listen!r}, upstream={self.upstream!r}"
        return f"Proxy({self.name!r}, {addresses}, enabled={self.enabled})"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to, for `socket.create_connection`."""
        host, _, port = self.listen.rpartition(":")
        host = host.strip("[]")
        return ("127.0.0.1" if host in {"", "::"} else host, int(port))

    def enable(self) -> None:
        """Listen again, with the toxics that it has."""
        self.update(enabled=True)

    def disable(self) -> None:
        """Cut every connection and refuse new ones; toxics stay."""
        self.update(enabled=False)

    def update(
        self, *, listen: str | None = None, upstream: str | None = None, enabled: bool | None = None
    ) -> None:
        """Change what is given. Another address cuts every connection."""
        given = {"listen": listen, "upstream": upstream, "enabled": enabled}
        body = {key: value for key, value in given.items() if value is not None}
        self._take(self._consumer.request("post", self._path, body))

    def refresh(self) -> None:
        """Ask the server how it is now."""
        self._take(self._consumer.request("get", self._path))

    def delete(self) -> None:
        """Cut every connection and forget the proxy."""
        self._consumer.request("delete", self._path)

    @contextlib.contextmanager
    def disabled(self) -> Iterator[Proxy]:
        """Disabled inside the ``with`` block, enabled after it."""
        self.disable()
        try:
            yield self
        finally:
            self.enable()

    def toxics(self) -> list[Toxic]:
        """Its toxics, upstream ones first, each direction in the order in which they act."""
        answer = self._consumer.request("get", f"{self._path}/toxics")
        return [Toxic(self, self._consumer, state) for state in answer]

    def add(
        self,
        attributes: Attributes,
        stream: Stream = "downstream",
        toxicity: float = 1.0,
        name: str | None = None,
    ) -> Toxic:
        """Add a toxic, on live connections too.

        Args:
            attributes: What it does, e.g. ``Latency(latency=100)``.
            stream: ``upstream`` (client to server) or ``downstream``.
            toxicity: Share of connections that it acts on, 0 to 1.
            name: Unique within the proxy; ``<type>_<stream>`` by default.
        """
        if isinstance(attributes, Other):
            raise ToxiproxyError(
                "a toxic of an unknown type cannot be added",
                looked_at=repr(attributes),
                remedy="use one of the classes in vault_harness.toxiproxy",
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
        """A toxic inside the ``with`` block; see `add`. Gone after it, whoever removed it."""
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
    """A toxic of a proxy as it was when last asked for.

    Attributes:
        proxy: The proxy that it belongs to.
        name: Unique within the proxy.
        type: E.g. ``latency``.
        stream: ``upstream`` or ``downstream``, as it was spelt when it was added.
        toxicity: Share of connections that it acts on.
        attributes: What it does.
    """

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
        """Change attributes or toxicity; both act at once, on live connections too.

        Args:
            attributes: All attributes anew, of the same class; or
            toxicity: The new share of connections.
            **changes: Single attributes, e.g. ``latency=200``.
        """
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
        """Take it away: what it holds is delivered at once, but `Timeout` closes connections."""
        self._consumer.request("delete", self._path)

    @property
    def _path(self) -> str:
        return f"/proxies/{quoted(self.proxy.name)}/toxics/{quoted(self.name)}"

    def _take(self, state: Mapping[str, Any]) -> None:
        self.toxicity: float = state["toxicity"]
        self.attributes: Attributes = read(self.type, state["attributes"])
