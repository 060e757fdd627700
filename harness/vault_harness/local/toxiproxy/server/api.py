"""The HTTP API: routes, requests and answers.

A handler resolves addresses first, then acts without waiting. So requests do not interleave, and
none waits for a peer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import posixpath
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import parse_qs, quote, unquote

from vault_harness.local.toxiproxy.server import VERSION, bodies
from vault_harness.local.toxiproxy.server.addresses import Address, AddressError, Resolver
from vault_harness.local.toxiproxy.server.bodies import Problem
from vault_harness.local.toxiproxy.server.connection import (
    CONTENT_TYPE,
    HANDLER_ERRORS,
    Common,
    Connection,
    Traffic,
)
from vault_harness.local.toxiproxy.server.proxy import Proxy
from vault_harness.local.toxiproxy.server.stage import Direction, InvalidAttributes, Toxic
from vault_harness.local.toxiproxy.server.toxics import TOXICS

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """A complete request. `target` is path and query as sent, in ASCII."""

    method: str
    target: str
    user_agent: str
    body: bytes


@dataclass(frozen=True)
class Answer:
    """An answer; its length is added when it is sent."""

    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[..., Awaitable[Answer]]
"""Called with the request and the names in its path."""


class Api:
    """All proxies, and the answers to requests about them.

    The same `seed` and order of connections give the same random draws. `runtime_metrics` is
    only for compatibility.
    """

    def __init__(
        self, seed: int, *, proxy_metrics: bool = False, runtime_metrics: bool = False
    ) -> None:
        self.proxies: dict[str, Proxy] = {}
        self._seed = seed
        self._resolver = Resolver()
        self._traffic = Traffic()
        self._proxy_metrics = proxy_metrics
        self._ids = 0
        self._id_prefix = os.urandom(5).hex()
        show, change, remove = self._show, self._update, self._delete
        toxic_change = self._toxic_update
        routes: dict[str, dict[str, Handler]] = {
            "/version": {"GET": self._version},
            "/proxies": {"GET": self._index, "POST": self._create},
            "/populate": {"POST": self._populate},
            "/reset": {"POST": self._reset},
            "/proxies/*": {"GET": show, "POST": change, "PATCH": change, "DELETE": remove},
            "/proxies/*/toxics": {"GET": self._toxics, "POST": self._toxic_create},
            "/proxies/*/toxics/*": {
                "GET": self._toxic_show,
                "POST": toxic_change,
                "PATCH": toxic_change,
                "DELETE": self._toxic_delete,
            },
            "/harness/connections": {"GET": self._connections},
        }
        if proxy_metrics or runtime_metrics:
            routes["/metrics"] = {"any": self._metrics}
        self._routes = [
            (re.compile(path.replace("*", "([^/]+)")), methods) for path, methods in routes.items()
        ]

    async def handle(self, request: Request) -> Answer:
        """Answer a request. Never raises for anything that a client may send."""
        target, question, query = request.target.partition("?")
        target = re.sub("^https?://[^/]*", "", target) or "/"
        path = unquote(target, errors="surrogateescape")
        clean = _clean(path)
        if clean != path:
            location = quote(clean, safe="/:@!$&'()*+,;=~", errors="surrogateescape")
            return Answer(301, headers=(("Location", location + question + query),))
        for pattern, methods in self._routes:
            match = pattern.fullmatch(path)
            if match is not None:
                handler = methods.get(request.method) or methods.get("any")
                if handler is None:
                    return Answer(405)
                return await self._matched(handler, request, match.groups())
        return plain_error(404, "404 page not found")

    def stop(self) -> None:
        for proxy in self.proxies.values():
            proxy.stop("server stopped")

    async def _matched(
        self, handler: Handler, request: Request, names: tuple[str | Any, ...]
    ) -> Answer:
        if request.user_agent.startswith("Mozilla/"):
            answer = plain_error(403, "User agent not allowed")
        else:
            try:
                answer = await handler(request, *names)
            except Problem as problem:
                answer = _problem(problem)
            except Exception as error:  # noqa: BLE001 - a bug must not take the proxies down
                _log.exception("API handler failed", {"path": request.target})
                answer = _problem(Problem(500, f"internal error: {type(error).__name__}"))
        self._ids += 1
        request_id = ("X-Toxiproxy-Request-Id", f"{self._id_prefix}{self._ids:010d}")
        return replace(answer, headers=(*answer.headers, request_id))

    async def _version(self, _request: Request) -> Answer:
        body = f'{{"version": "{VERSION}"}}\n'.encode()
        return Answer(200, body, "application/json;charset=utf-8")

    async def _index(self, _request: Request) -> Answer:
        return _json(
            200, {name: bodies.show_proxy(proxy) for name, proxy in sorted(self.proxies.items())}
        )

    async def _show(self, _request: Request, name: str) -> Answer:
        return _json(200, bodies.show_proxy(self._proxy(name)))

    async def _create(self, request: Request) -> Answer:
        entry = bodies.decode(request.body, bodies.PROXY)
        bodies.require(entry)
        name, listen = entry["name"], entry.get("listen", "")
        enabled = entry.get("enabled", True)
        self._require_free(name)
        address = await self._resolve(listen) if enabled else AddressError("not resolved")
        self._require_free(name)  # another request may have taken it in between
        proxy = self._new(name, listen, entry["upstream"])
        if enabled:
            _start(proxy, address)
        self.proxies[name] = proxy
        return _json(201, bodies.show_proxy(proxy))

    async def _update(self, request: Request, name: str) -> Answer:
        self._proxy(name)
        entry = bodies.decode(request.body, bodies.PROXY)
        while True:
            listen = entry.get("listen", self._proxy(name).listen)
            address = await self._resolve(listen)
            proxy = self._proxy(name)
            if listen == entry.get("listen", proxy.listen):
                break  # else another request has changed the proxy during the look-up
        try:
            proxy.update(
                listen,
                address,
                entry.get("upstream", proxy.upstream),
                entry.get("enabled", proxy.enabled),
            )
        except AddressError as error:
            raise Problem(500, str(error)) from None
        return _json(200, bodies.show_proxy(proxy))

    async def _delete(self, _request: Request, name: str) -> Answer:
        self._proxy(name)
        self.proxies.pop(name).stop("proxy deleted")
        return Answer(204)

    async def _populate(self, request: Request) -> Answer:
        try:
            proxies = await self.populate(request.body)
        except Problem as problem:
            body = {"error": problem.text, "status": problem.status, "proxies": problem.proxies}
            return _json(problem.status, body)
        return _json(201, {"proxies": [bodies.show_proxy(proxy) for proxy in proxies] or None})

    async def populate(self, body: bytes) -> list[Proxy]:
        """Make or keep all proxies of a JSON array. An invalid array changes nothing."""
        entries = bodies.decode_proxies(body)
        resolved = await asyncio.gather(
            *(self._resolve(entry.get("listen", "")) for entry in entries)
        )
        done: list[Proxy] = []
        for entry, address in zip(entries, resolved, strict=True):
            try:
                done.append(self._add_or_replace(entry, address))
            except AddressError as error:
                shown = [bodies.show_proxy(proxy) for proxy in done] or None
                raise Problem(500, str(error), shown) from None
        return done

    def _add_or_replace(self, entry: dict[str, Any], address: Address | AddressError) -> Proxy:
        name, upstream = entry["name"], entry["upstream"]
        existing = self.proxies.get(name)
        if existing is not None:
            if isinstance(address, AddressError):
                raise address
            if not existing.differs(address, upstream):
                return existing
            existing.stop("proxy replaced")
        proxy = self._new(name, entry.get("listen", ""), upstream)
        if entry.get("enabled", True):
            proxy.start(address)
        self.proxies[name] = proxy
        return proxy

    async def _reset(self, _request: Request) -> Answer:
        resolved: dict[str, Address | AddressError] = {}
        while missing := self._disabled() - resolved.keys():
            # Repeated if another request has disabled a proxy during the look-ups.
            addresses = await asyncio.gather(*map(self._resolve, missing))
            resolved |= zip(missing, addresses, strict=True)
        for proxy in self.proxies.values():
            if not proxy.enabled:
                _start(proxy, resolved[proxy.listen])
            for toxic in proxy.all_toxics():
                proxy.remove_toxic(toxic)
        return Answer(204)

    def _disabled(self) -> set[str]:
        return {proxy.listen for proxy in self.proxies.values() if not proxy.enabled}

    async def _toxics(self, _request: Request, name: str) -> Answer:
        return _json(200, bodies.show_proxy(self._proxy(name))["toxics"])

    async def _toxic_show(self, _request: Request, name: str, toxic: str) -> Answer:
        return _json(200, bodies.show_toxic(self._toxic(self._proxy(name), toxic)))

    async def _toxic_create(self, request: Request, name: str) -> Answer:
        proxy = self._proxy(name)
        entry = bodies.decode(request.body, bodies.TOXIC)
        stream = entry.get("stream", "downstream")
        if stream.lower() not in proxy.toxics:
            raise Problem(400, "stream was invalid, can be either upstream or downstream")
        kind = TOXICS.get(entry.get("type", ""))
        if kind is None:
            raise Problem(400, "invalid toxic type")
        toxic_name = entry.get("name") or f"{kind.type}_{stream}"
        if proxy.toxic(toxic_name) is not None:
            raise Problem(409, "toxic already exists")
        values, wrong = bodies.attributes(kind, entry, dict.fromkeys(kind.fields, 0))
        if wrong is not None:
            raise bodies.bad_body(wrong)
        try:
            toxic = Toxic(
                kind,
                name=toxic_name,
                stream=stream,
                direction=cast("Direction", stream.lower()),
                toxicity=bodies.toxicity(entry, 1.0),
                values=values,
            )
        except InvalidAttributes as error:
            raise bodies.bad_body(error) from None
        proxy.add_toxic(toxic)
        return _json(200, bodies.show_toxic(toxic))

    async def _toxic_update(self, request: Request, name: str, toxic_name: str) -> Answer:
        proxy = self._proxy(name)
        toxic = self._toxic(proxy, toxic_name)
        entry, wrong = bodies.fields(bodies.parse(request.body), bodies.TOXIC_UPDATE)
        values, wrong_attribute = bodies.attributes(toxic.kind, entry, toxic.values)
        wrong = wrong or wrong_attribute
        # As upstream, keep the attributes that could be read even if another could not. They are
        # applied as a whole, so that the attributes shown are those in effect.
        toxicity = toxic.toxicity if wrong else bodies.toxicity(entry, toxic.toxicity)
        try:
            toxic.change(values, toxicity)
        except InvalidAttributes as error:
            raise bodies.bad_body(wrong or error) from None
        proxy.update_toxic(toxic)
        if wrong:
            raise bodies.bad_body(wrong)
        return _json(200, bodies.show_toxic(toxic))

    async def _toxic_delete(self, _request: Request, name: str, toxic: str) -> Answer:
        proxy = self._proxy(name)
        proxy.remove_toxic(self._toxic(proxy, toxic))
        return Answer(204)

    async def _metrics(self, _request: Request) -> Answer:
        live = self._live() if self._proxy_metrics else None
        text = HANDLER_ERRORS if live is None else self._traffic.metrics(live)
        return Answer(200, text.encode(), CONTENT_TYPE)

    async def _connections(self, request: Request) -> Answer:
        wanted = parse_qs(request.target.partition("?")[2]).get("proxy", [])
        return _json(200, {"connections": self._traffic.records(self._live(), wanted)})

    def _live(self) -> Iterator[Connection]:
        for proxy in self.proxies.values():
            yield from proxy.connections

    def _new(self, name: str, listen: str, upstream: str) -> Proxy:
        common = Common(self._resolver, self._seed, self._traffic.ended)
        return Proxy(name, listen, upstream, common=common)

    def _proxy(self, name: str) -> Proxy:
        proxy = self.proxies.get(name)
        if proxy is None:
            raise Problem(404, "proxy not found")
        return proxy

    def _toxic(self, proxy: Proxy, name: str) -> Toxic:
        toxic = proxy.toxic(name)
        if toxic is None:
            raise Problem(404, "toxic not found")
        return toxic

    def _require_free(self, name: str) -> None:
        if name in self.proxies:
            raise Problem(409, "proxy already exists")

    async def _resolve(self, listen: str) -> Address | AddressError:
        try:
            return await self._resolver.resolve(listen)
        except AddressError as error:
            return error


def plain_error(status: int, text: str) -> Answer:
    return Answer(status, f"{text}\n".encode(), TEXT, (("X-Content-Type-Options", "nosniff"),))


def _problem(problem: Problem) -> Answer:
    body = bodies.dump({"error": problem.text, "status": problem.status}).decode()
    return plain_error(problem.status, body)


def _json(status: int, value: object) -> Answer:
    return Answer(status, bodies.dump(value), JSON)


def _clean(path: str) -> str:
    clean = posixpath.normpath("/" + path.lstrip("/"))
    return clean + "/" if path.endswith("/") and clean != "/" else clean


def _start(proxy: Proxy, address: Address | AddressError) -> None:
    try:
        proxy.start(address)
    except AddressError as error:
        raise Problem(500, str(error)) from None
