"""The clients' path to Vault, through Toxiproxy, and what disturbs it.

For faults of single requests, an HTTP recorder stands between the two.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

from vault_harness.errors import StackError, ToxiproxyError, named
from vault_harness.local.engine.ports import ask
from vault_harness.local.engine.provider import (
    RECORDER_NAME,
    Endpoints,
    NodeEndpoint,
    RecorderEndpoint,
    ServiceState,
    StackProvider,
)
from vault_harness.local.stack.status import (
    ProxyStatus,
    RecorderStatus,
    RequestFaultStatus,
    ToxicStatus,
)
from vault_harness.local.toxiproxy.client import Proxy, Toxiproxy
from vault_harness.local.vault.admin import VaultAdmin

_LOOK_SECONDS = 2.0
_ORDER_SECONDS = 5.0


def ensure_proxies(endpoints: Endpoints, *, through: str | None = None) -> list[str]:
    """Make or correct the proxies; toxics stay. Return what was done, for a user.

    `through` is ``host:port`` of the recorder that they lead to instead of Vault.
    """
    toxiproxy = Toxiproxy(endpoints.toxiproxy)
    present = toxiproxy.proxies()
    done = []
    for node in endpoints.targets:
        proxy, upstream = present.get(node.name), through or node.upstream
        if proxy is None:
            toxiproxy.create(node.name, listen=node.proxy_listen, upstream=upstream)
            done.append(f"made the proxy {node.name} again")
        elif not _leads_to(proxy, node, upstream):
            proxy.update(listen=node.proxy_listen, upstream=upstream)
            done.append(
                f"led the proxy {node.name} to {'the recorder' if through else 'Vault'} again"
            )
    return done


def clear(endpoints: Endpoints) -> list[str]:
    """Remove all toxics and enable all proxies. Return what was done."""
    done = ensure_proxies(endpoints)
    for proxy in Toxiproxy(endpoints.toxiproxy).proxies().values():
        for toxic in proxy.toxics():
            toxic.remove()
            done.append(f"removed the toxic {toxic.name} from the proxy {proxy.name}")
        if not proxy.enabled:
            proxy.enable()
            done.append(f"enabled the proxy {proxy.name}")
    return done


def look(api: str) -> tuple[ProxyStatus, ...] | None:
    """Return all proxies; None if Toxiproxy does not answer."""
    try:
        present = Toxiproxy(api, timeout=_LOOK_SECONDS).proxies()
        return tuple(_status(proxy) for proxy in present.values())
    except ToxiproxyError:
        return None


def obstacles(
    endpoints: Endpoints,
    proxies: tuple[ProxyStatus, ...] | None,
    *,
    answering: bool,
    recorder: RecorderStatus | None = None,
) -> tuple[str, ...]:
    """Return what stands between a client and Vault, a line each.

    A Vault that is `answering` is also asked through the proxy, unless that request might use up a
    fault.
    """
    if proxies is None:
        return (f"Toxiproxy does not answer at {endpoints.toxiproxy}",)
    known = {proxy.name: proxy for proxy in proxies}
    found = [line for node in endpoints.targets for line in _obstacles(node, known, recorder)]
    if not found and answering:
        found = [
            f"Vault answers at {node.address}, and not through the proxy at {node.proxy}"
            for node in endpoints.targets
            if not _answers(node.proxy, endpoints.ca_cert)
        ]
    return tuple(found)


def _obstacles(
    node: NodeEndpoint, known: Mapping[str, ProxyStatus], recorder: RecorderStatus | None
) -> list[str]:
    proxy = known.get(node.name)
    if proxy is None:
        return [f"the proxy {node.name} in front of Vault is gone"]
    found = [] if proxy.enabled else [f"the proxy {node.name} is disabled"]
    if recorder is not None and _leads_to(proxy, node, recorder.listen):
        found += _recorded(node, recorder)
    elif not _leads_to(proxy, node, node.upstream):
        found.append(f"the proxy {node.name} leads from {proxy.listen} to {proxy.upstream}")
    found += [
        f"the toxic {toxic.name} ({toxic.type}, {toxic.stream}) is on the proxy {node.name}"
        for toxic in proxy.toxics
    ]
    return found


def _recorded(node: NodeEndpoint, recorder: RecorderStatus) -> list[str]:
    if not recorder.running:
        return [f"the proxy {node.name} leads to the HTTP recorder, which has died"]
    if not recorder.answers:
        return [f"the proxy {node.name} leads to the HTTP recorder, which does not answer"]
    return [
        *(f"requests are disturbed: {one.text}" for one in recorder.faults if not one.over),
        *(f"the HTTP recorder has a defect of its own: {text}" for text in recorder.defects[-1:]),
    ]


def _leads_to(proxy: Proxy | ProxyStatus, node: NodeEndpoint, upstream: str) -> bool:
    # Only the port counts: a server may report its listen address in another spelling.
    return (_port(proxy.listen), proxy.upstream) == (_port(node.proxy_listen), upstream)


def _answers(address: str, ca_cert: Path | None) -> bool:
    with contextlib.closing(VaultAdmin(address, None, ca_cert, _LOOK_SECONDS)) as operator:
        return operator.health() != 0


def _status(proxy: Proxy) -> ProxyStatus:
    toxics = tuple(
        ToxicStatus(
            name=toxic.name,
            type=toxic.type,
            stream=toxic.stream,
            toxicity=toxic.toxicity,
            attributes=toxic.attributes.as_json(),
        )
        for toxic in proxy.toxics()
    )
    return ProxyStatus(
        name=proxy.name,
        listen=proxy.listen,
        upstream=proxy.upstream,
        enabled=proxy.enabled,
        toxics=toxics,
    )


def _port(address: str) -> str:
    return address.rpartition(":")[2]


def order_fault(
    recorder: RecorderEndpoint, order: Mapping[str, object], *, undo: bool = False
) -> None:
    with requests.Session() as session:
        session.trust_env = False  # a proxy for the internet must not get this request
        try:
            answer = session.request(
                *("DELETE" if undo else "POST", f"{recorder.api}/faults"),
                json=dict(order),
                timeout=_ORDER_SECONDS,
            )
            said = "" if answer.ok else answer.text
        except requests.RequestException as error:
            said = type(error).__name__
    if said:
        raise StackError(
            f"the HTTP recorder refused an order: {said}",
            looked_at=recorder.api,
            remedy=f"{named('heal')} ends it, and the next order starts another; "
            f"{named('logs', RECORDER_NAME)} has its log",
        )


def through_recorder(provider: StackProvider) -> str | None:
    """Return ``host:port`` of the recorder that clients go through."""
    known = provider.known_recorder()
    return known.listen if known is not None else None


def end_recorder(provider: StackProvider) -> list[str]:
    return [f"ended {what}" for what in provider.stop_recorder()]


def look_at_recorder(
    provider: StackProvider, services: Sequence[ServiceState]
) -> RecorderStatus | None:
    known = provider.known_recorder()
    if known is None:
        return None
    running = any(one.name == RECORDER_NAME and one.running for one in services)
    answer = ask(f"{known.api}/", timeout=_LOOK_SECONDS) if running else None
    if answer is None:
        return RecorderStatus(listen=known.listen, running=running, answers=False)
    told = json.loads(answer.body)
    return RecorderStatus(
        listen=known.listen,
        running=True,
        answers=True,
        faults=tuple(
            RequestFaultStatus(
                text=one["text"],
                order=one["order"],
                seen=one["seen"],
                acted=one["acted"],
                over=one["over"],
            )
            for one in told["faults"]
        ),
        defects=tuple(told["defects"]),
    )
