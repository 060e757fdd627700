"""The HTTP API: routes, requests and answers.

Handlers decode fully, resolve addresses, and then act in one go without waiting, so that no two
requests can be halfway through at the same time, and none waits for a peer.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import parse_qs, quote, unquote

from vault_harness.toxiproxy.server import VERSION, addresses, bodies, gojson, metrics
from vault_harness.toxiproxy.server.addresses import Address, AddressError
from vault_harness.toxiproxy.server.bodies import Problem
from vault_harness.toxiproxy.server.proxies import Proxy, Server
from vault_harness.toxiproxy.server.toxics import InvalidAttributes, Toxic, registry
from vault_harness.toxiproxy.server.toxics._stage import Direction

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Request:
    """A request that was read to its end.

    Attributes:
        target: Path and query as sent.
        user_agent: Empty if there is none.
    """

    method: str
    target: str
    user_agent: str
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What to send back; the length is added on the wire."""

    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


PROXY_NOT_FOUND = (404, "proxy not found")
TOXIC_NOT_FOUND = (404, "toxic not found")

Handler = Callable[[Request, list[str]], Awaitable[Answer]]


class Api:
    """Answers requests about a `Server`.

    Args:
        server: The proxies.
        proxy_metrics: Whether ``/metrics`` shows bytes for each proxy.
        runtime_metrics: Accepted for compatibility; Go's runtime has no counterpart here.
    """

    def __init__(
        self, server: Server, *, proxy_metrics: bool = False, runtime_metrics: bool = False
    ) -> None:
        self.server = server
        self.toxics = registry()
        self._proxy_metrics = proxy_metrics
        self._ids = 0
        self._id_prefix = os.urandom(5).hex()
        name = "([^/]+)"
        routes: list[tuple[str, dict[str, Handler]]] = [
            ("/version", {"GET": self._version}),
            ("/proxies", {"GET": self._index, "POST": self._create}),
            ("/populate", {"POST": self._populate}),
            ("/reset", {"POST": self._reset}),
            (
                f"/proxies/{name}",
                {
                    "GET": self._show,
                    "POST": self._update,
                    "PATCH": self._update,
                    "DELETE": self._delete,
                },
            ),
            (f"/proxies/{name}/toxics", {"GET": self._toxics, "POST": self._toxic_create}),
            (
                f"/proxies/{name}/toxics/{name}",
                {
                    "GET": self._toxic_show,
                    "POST": self._toxic_update,
                    "PATCH": self._toxic_update,
                    "DELETE": self._toxic_delete,
                },
            ),
            ("/harness/connections", {"GET": self._connections}),
        ]
        if proxy_metrics or runtime_metrics:
            routes.append(("/metrics", {"": self._metrics}))
        self._routes = [(re.compile(path), methods) for path, methods in routes]

    async def handle(self, request: Request) -> Answer:
        """Answer a request; never raises for anything that a client may send."""
        path, _, _ = request.target.partition("?")
        if path.startswith(("http://", "https://")):
            path = "/" + path.split("/", 3)[3] if path.count("/") > 2 else "/"
        path = unquote(path, errors="surrogateescape")
        clean = _clean(path)
        if clean != path:
            location = quote(clean, safe="/:@!$&'()*+,;=~", errors="surrogateescape")
            return Answer(301, headers=(("Location", location),))
        for pattern, methods in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            handler = methods.get(request.method) or methods.get("")
            if handler is None:
                return Answer(405)
            return await self._matched(handler, request, list(match.groups()))
        return plain_error(404, "404 page not found")

    async def _matched(self, handler: Handler, request: Request, names: list[str]) -> Answer:
        self._ids += 1
        request_id = ("X-Toxiproxy-Request-Id", f"{self._id_prefix}{self._ids:010d}")
        if request.user_agent.startswith("Mozilla/"):
            answer = plain_error(403, "User agent not allowed")
        else:
            try:
                answer = await handler(request, names)
            except Problem as problem:
                answer = _problem(problem)
            except Exception as error:  # noqa: BLE001 - a defect must not take the proxies down
                self.server.log.error("API handler failed", error=repr(error), path=request.target)
                answer = _problem(Problem(500, f"internal error: {type(error).__name__}"))
        return Answer(
            answer.status, answer.body, answer.content_type, (*answer.headers, request_id)
        )

    # Proxies.

    async def _version(self, _request: Request, _names: list[str]) -> Answer:
        body = f'{{"version": "{VERSION}"}}\n'.encode()
        return Answer(200, body, "application/json;charset=utf-8")

    async def _index(self, _request: Request, _names: list[str]) -> Answer:
        proxies = self.server.proxies
        return _json(200, {name: bodies.show_proxy(proxies[name]) for name in sorted(proxies)})

    async def _show(self, _request: Request, names: list[str]) -> Answer:
        return _json(200, bodies.show_proxy(self._proxy(names[0])))

    async def _create(self, request: Request, _names: list[str]) -> Answer:
        entry = bodies.decode(request.body, bodies.PROXY_SHAPE)
        name, upstream = bodies.text(entry, "name"), bodies.text(entry, "upstream")
        for missing, value in (("name", name), ("upstream", upstream)):
            if not value:
                raise Problem(400, f"missing required field: {missing}")
        listen = bodies.text(entry, "listen")
        enabled = bool(entry.get("enabled", True))
        self._require_free(name)
        address = await _try_resolve(listen) if enabled else AddressError("not resolved")
        self._require_free(name)
        proxy = Proxy(self.server, name, listen, upstream)
        if enabled:
            _start(proxy, address)
        self.server.proxies[name] = proxy
        return _json(201, bodies.show_proxy(proxy))

    async def _update(self, request: Request, names: list[str]) -> Answer:
        self._proxy(names[0])
        entry = bodies.decode(request.body, bodies.PROXY_SHAPE)
        while True:
            listen = bodies.text(entry, "listen", self._proxy(names[0]).listen)
            address = await _try_resolve(listen)
            # Another request may have changed the proxy while a name was looked up.
            proxy = self._proxy(names[0])
            if bodies.text(entry, "listen", proxy.listen) == listen:
                break
        upstream = bodies.text(entry, "upstream", proxy.upstream)
        enabled = bool(entry.get("enabled", proxy.enabled))
        try:
            proxy.update(listen, address, upstream, enabled)
        except AddressError as error:
            raise Problem(500, str(error)) from None
        return _json(200, bodies.show_proxy(proxy))

    async def _delete(self, _request: Request, names: list[str]) -> Answer:
        self._proxy(names[0])
        self.server.remove(names[0])
        return Answer(204)

    async def _populate(self, request: Request, _names: list[str]) -> Answer:
        try:
            proxies = await self.populate(request.body)
        except Problem as problem:
            return _json(
                problem.status,
                {
                    "error": problem.text,
                    "status": problem.status,
                    "proxies": problem.proxies or None,
                },
            )
        return _json(201, {"proxies": [bodies.show_proxy(proxy) for proxy in proxies] or None})

    async def populate(self, body: bytes) -> list[Proxy]:
        """Make or keep every proxy of a JSON array, in order.

        Raises:
            Problem: The array makes no sense (nothing has changed), or an entry cannot listen.
        """
        entries = bodies.decode_array(body)
        resolved = [await _try_resolve(bodies.text(entry, "listen")) for entry in entries]
        done: list[Proxy] = []
        for entry, address in zip(entries, resolved, strict=True):
            try:
                done.append(self._add_or_replace(entry, address))
            except AddressError as error:
                raise Problem(
                    500, str(error), [bodies.show_proxy(proxy) for proxy in done]
                ) from None
        return done

    def _add_or_replace(self, entry: dict[str, object], address: Address | AddressError) -> Proxy:
        name, upstream = bodies.text(entry, "name"), bodies.text(entry, "upstream")
        existing = self.server.proxies.get(name)
        if existing is not None:
            if isinstance(address, AddressError):
                raise address
            if not existing.differs(address, upstream):
                return existing
            existing.stop("proxy replaced")
        proxy = Proxy(self.server, name, bodies.text(entry, "listen"), upstream)
        if entry.get("enabled", True):
            proxy.start(address)
        self.server.proxies[name] = proxy
        return proxy

    async def _reset(self, _request: Request, _names: list[str]) -> Answer:
        resolved: dict[str, Address | AddressError] = {}
        while (
            missing := {proxy.listen for proxy in self.server.proxies.values() if not proxy.enabled}
            - resolved.keys()
        ):
            for listen in missing:
                resolved[listen] = await _try_resolve(listen)
        for proxy in list(self.server.proxies.values()):
            if not proxy.enabled:
                _start(proxy, resolved[proxy.listen])
            for toxic in proxy.all_toxics():
                proxy.remove_toxic(toxic)
        return Answer(204)

    # Toxics.

    async def _toxics(self, _request: Request, names: list[str]) -> Answer:
        return _json(
            200, [bodies.show_toxic(toxic) for toxic in self._proxy(names[0]).all_toxics()]
        )

    async def _toxic_show(self, _request: Request, names: list[str]) -> Answer:
        return _json(200, bodies.show_toxic(self._toxic(self._proxy(names[0]), names[1])))

    async def _toxic_create(self, request: Request, names: list[str]) -> Answer:
        proxy = self._proxy(names[0])
        entry = bodies.decode(request.body, bodies.TOXIC_SHAPE)
        stream = bodies.text(entry, "stream", "downstream")
        if stream.lower() not in {"upstream", "downstream"}:
            raise Problem(400, "stream was invalid, can be either upstream or downstream")
        kind_name = bodies.text(entry, "type")
        name = bodies.text(entry, "name") or f"{kind_name}_{stream}"
        kind = self.toxics.get(kind_name)
        if kind is None:
            raise Problem(400, "invalid toxic type")
        if proxy.toxic(name) is not None:
            raise Problem(409, "toxic already exists")
        values, wrong = bodies.attributes(kind, entry, dict.fromkeys(kind.fields, 0))
        if wrong is not None:
            raise bodies.bad_body(wrong)
        try:
            toxic = Toxic(
                kind,
                name=name,
                stream=stream,
                direction=cast("Direction", stream.lower()),
                toxicity=bodies.toxicity(entry, 1.0),
                values=values,
            )
        except InvalidAttributes as error:
            raise bodies.bad_body(error) from None
        proxy.add_toxic(toxic)
        return _json(200, bodies.show_toxic(toxic))

    async def _toxic_update(self, request: Request, names: list[str]) -> Answer:
        proxy = self._proxy(names[0])
        toxic = self._toxic(proxy, names[1])
        entry, wrong = gojson.fields(bodies.parse(request.body), bodies.UPDATE_SHAPE)
        values, wrong_attribute = bodies.attributes(toxic.kind, entry, toxic.values)
        wrong = wrong or wrong_attribute
        # Attributes that could be read are kept even if another could not, as upstream keeps them.
        # But they are checked and put into effect as a whole, so what is shown is what acts.
        toxicity = toxic.toxicity if wrong else bodies.toxicity(entry, toxic.toxicity)
        try:
            toxic.change(values, toxicity)
        except InvalidAttributes as error:
            raise bodies.bad_body(wrong or error) from None
        proxy.update_toxic(toxic)
        if wrong:
            raise bodies.bad_body(wrong)
        return _json(200, bodies.show_toxic(toxic))

    async def _toxic_delete(self, _request: Request, names: list[str]) -> Answer:
        proxy = self._proxy(names[0])
        proxy.remove_toxic(self._toxic(proxy, names[1]))
        return Answer(204)

    # Looking on.

    async def _metrics(self, _request: Request, _names: list[str]) -> Answer:
        text = self.server.counters.text(
            self.server.connections(), proxy_metrics=self._proxy_metrics
        )
        return Answer(200, text.encode(), metrics.CONTENT_TYPE)

    async def _connections(self, request: Request, _names: list[str]) -> Answer:
        wanted = parse_qs(request.target.partition("?")[2]).get("proxy")
        records = [
            *self.server.recent,
            *(connection.record(None) for connection in self.server.connections()),
        ]
        if wanted:
            records = [record for record in records if record["proxy"] in wanted]
        return _json(200, {"connections": records})

    # Looking up.

    def _proxy(self, name: str) -> Proxy:
        proxy = self.server.proxies.get(name)
        if proxy is None:
            raise Problem(*PROXY_NOT_FOUND)
        return proxy

    def _toxic(self, proxy: Proxy, name: str) -> Toxic:
        toxic = proxy.toxic(name)
        if toxic is None:
            raise Problem(*TOXIC_NOT_FOUND)
        return toxic

    def _require_free(self, name: str) -> None:
        if name in self.server.proxies:
            raise Problem(409, "proxy already exists")


def plain_error(status: int, text: str) -> Answer:
    """An error in plain text, as Go's router gives them."""
    return Answer(status, f"{text}\n".encode(), TEXT, (("X-Content-Type-Options", "nosniff"),))


def _problem(problem: Problem) -> Answer:
    body = gojson.dump({"error": problem.text, "status": problem.status}).decode()
    return plain_error(problem.status, body)


def _json(status: int, value: object) -> Answer:
    return Answer(status, gojson.dump(value), JSON)


def _clean(path: str) -> str:
    if not path.startswith("/"):
        path = "/" + path
    clean = posixpath.normpath(path)
    if clean.startswith("//"):
        clean = clean[1:]
    return clean + "/" if path.endswith("/") and clean != "/" else clean


async def _try_resolve(listen: str) -> Address | AddressError:
    try:
        return await addresses.resolve(listen)
    except AddressError as error:
        return error


def _start(proxy: Proxy, address: Address | AddressError) -> None:
    try:
        proxy.start(address)
    except AddressError as error:
        raise Problem(500, str(error)) from None
