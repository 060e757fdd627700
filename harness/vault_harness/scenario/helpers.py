"""Beyond the lab: stand-ins for Vault, a second host, dead connections, a client's footprint."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from secrets import token_hex

import psutil

from vault_harness.addresses import base_url, joined
from vault_harness.engine import Node, NodeSpec
from vault_harness.errors import OperatorError
from vault_harness.faults import Fault, RequestKind, Signature, Stub, process_tree
from vault_harness.scenario.conditions import Condition
from vault_harness.scenario.driver import Verb, Way
from vault_harness.scenario.history import History
from vault_harness.scenario.lab import Lab
from vault_harness.scenario.observations import Exchange, Operation
from vault_harness.scenario.oracles import (
    LOADS,
    came_through,
    last_grant,
    reads_go_on,
    recovers_within,
)
from vault_harness.scenario.recorder import Recorder
from vault_harness.scenario.verdict import Finding, NotClaimed
from vault_harness.vault import Operator, approle
from vault_harness.waiting import wait_until


@contextmanager
def instead_of_vault(lab: Lab, name: str, *stubs: Stub) -> Iterator[Fault]:
    """The recorder answers in Vault's place while the block runs.

    For what neither Vault nor Toxiproxy can be made to say. It counts as a fault only once the
    subject has been given such an answer.

    Args:
        lab: The scenario.
        name: What that is, for the report.
        stubs: The answers.
    """
    with ExitStack() as set_up:
        for stub in stubs:
            set_up.enter_context(lab.recorder.stub(stub))
        fault = lab.history.begin_fault(name, Signature(stubbed=True))
        try:
            yield fault
        finally:
            lab.history.end_fault(fault)


@contextmanager
def uninitialised(lab: Lab) -> Iterator[Fault]:
    """Clients are led to a Vault that nobody has initialised, while the block runs.

    It answers 501 for its health, and 503 "Vault is sealed" for all the rest. That somebody has
    initialised it is harm: the keys to all secrets to come are then in that hand.
    """
    name = f"{lab.entry.id.lower()}-new"
    node = lab.environment.engine.node(
        NodeSpec(name=name, directory=lab.directory / "new", audit=False)
    )
    with ExitStack() as undo:
        undo.callback(getattr(node, "close", lambda: None))
        node.start()
        with leading_to(lab, node):
            signature = Signature(statuses=frozenset({501, 503}))
            fault = lab.history.begin_fault("Vault not initialised", signature)
            yield fault
        lab.history.end_fault(fault)
        with closing(Operator(node.address)) as operator:
            if operator.seal_status().initialised:
                text = "it is initialised, and whoever did it has its keys"
                promise = "nobody initialises a Vault but its operator"
                lab.note(Finding(promise, text, fault.end, harm=True))


LETS_GO = 0.3
"""Seconds in which a client sees that the connections which it keeps have ended."""


def end_connections(lab: Lab) -> None:
    """End all connections that the subject keeps, and let it see so before anybody reads.

    Whoever reads in that very moment may be served by one that ends: a client that does not repeat
    what it has sent loses that read, as over any connection that has died (NET-04).
    """
    lab.network.drop_connections()
    lab.watch(LETS_GO)


@contextmanager
def leading_to(lab: Lab, node: Node) -> Iterator[None]:
    """Clients are led to this node while the block runs, and back afterwards.

    Nobody should read when it begins.
    """
    before, secured = lab.recorder.upstream, lab.recorder.upstream_tls
    lab.recorder.upstream = joined(node.address)
    if node.address.startswith("http:"):
        lab.recorder.upstream_tls = None
    end_connections(lab)
    try:
        yield
    finally:
        lab.recorder.upstream, lab.recorder.upstream_tls = before, secured
        lab.network.drop_connections()


def ways(lab: Lab) -> list[Verb]:
    """The ways of reading that the subject claims."""
    return ["read", "read_cached"] if lab.can("cached") else ["read"]


def every_way(lab: Lab) -> list[Way]:
    """The same, and that of a whole secret, if the subject claims it."""
    found: list[Way] = [*ways(lab)]
    return [*found, "read_all"] if lab.can("read_all") else found


def has_its_files(lab: Lab) -> bool:
    """Whether the subject is an agent, which has the secrets that it was configured to have."""
    return lab.environment.subject.kind == "agent"


@contextmanager
def reading_in_each_way(lab: Lab, *, every: float, callers: int = 1) -> Iterator[None]:
    """Let so many callers read while the block runs, and one by a cache, if the subject has one.

    What keeps a cache fresh meets a fault only if the cache was asked for something before.
    """
    with ExitStack() as reading:
        reading.enter_context(lab.reading(every=every, callers=callers))
        if lab.can("cached"):
            reading.enter_context(lab.reading(every=every, verb="read_cached"))
        yield


@contextmanager
def reading_in_every_way(lab: Lab, *, every: float) -> Iterator[None]:
    """Let one caller for each way of reading that there is read while the block runs."""
    with ExitStack() as reading:
        for way in every_way(lab):
            reading.enter_context(lab.reading(every=every, verb=way))
        yield


def recovers_in_each_way(lab: Lab, *, after: Fault) -> None:
    """Wait for a good read in each way after a fault, and ask later whether it came in time.

    What a cache learned in the fault it may hand out, as old, for one refresh time more.
    """
    lab.recovers(after=after, verb="read")
    within = lab.recovery_after(after) + lab.refresh
    if lab.can("cached"):
        lab.recovers(after=after, within=within, verb="read_cached")
    wholes_come_back(lab, since=after.end, within=within)


def ask_for_a_whole(lab: Lab, *, spare: bool = False) -> Operation | None:
    """Ask once for all of a secret, the scenario's own or its spare one; None of who claims none.

    That way is often a second piece of code: what is well for one key may be lost on it alone.
    """
    if not lab.can("read_all"):
        return None
    entry = lab.entry
    path, key = (entry.spare_path, entry.spare_key) if spare else (entry.path, entry.key)
    return lab.client.read_all(path, (key,))


def wholes_come_back(lab: Lab, *, since: float, within: float) -> None:
    """Ask for the whole secret, of who claims to give any, until it is good; never is a finding.

    One is asked for in any case, however much of the time the other ways of reading have taken.

    Args:
        lab: The scenario.
        since: When the fault was over, or met.
        within: Seconds; what a cache of wholes learned in the fault it may hand out for R.
    """
    whole = ask_for_a_whole(lab)
    while whole is not None and not whole.good and whole.outcome != "died":
        if whole.began > since + within + lab.history.slack(since, whole.began):
            promise = f"a good read_all within {within:.3g} s after the fault"
            text = f"it still ends {whole.told}"
            lab.note(Finding(promise, text, since, until=whole.began, lacks=True))
            return
        lab.watch(0.2)
        whole = ask_for_a_whole(lab)


def start_meanwhile(lab: Lab) -> threading.Event:
    """Start the subject in a thread of its own and let it read once; tells when that is done.

    Whatever is broken meanwhile, that first call may load for a while (`oracles.LOADS`).
    """
    opened = threading.Event()

    def start() -> None:
        try:
            if (client := lab.open(timeout=20.0)) is not None:
                client.read()
        finally:
            opened.set()

    threading.Thread(target=start, name="start", daemon=True).start()
    return opened


@contextmanager
def callers_if_started(lab: Lab, fault: Fault, *, every: float, callers: int) -> Iterator[bool]:
    """Let callers read while the block runs, once the subject has started under a fault.

    A slow starter has its time until it first asks for something. Who has not started two deadlines
    after that waits for Vault: it has no callers, and a remark says so.

    Yields:
        Whether there are any.
    """
    lab.history.wait_for(lambda: lab.started or lab.touched(fault), 15.0)
    if lab.until(lambda: lab.started, within=2 * lab.deadline):
        with lab.reading(every=every, callers=callers):
            yield True
    else:
        lab.history.mark("no callers in the fault: it does not start while Vault is out of reach")
        yield False


def works_after_all(lab: Lab, fault: Fault, opened: threading.Event) -> float:
    """What was started against a fault that is undone by now must come to work.

    If it refused to start, its supervisor tries again.

    Returns:
        Seconds after the fault in which a good read must come; what a start by its supervisor may
        take is among them.
    """
    opened.wait(timeout=20.0)
    took = started_again(lab)
    bound = lab.recovery_after(fault)
    if lab.started:
        lab.until_good_read_by_asking(within=bound)
    else:
        text = f"it does not start: {lab.history.operations[-1].message}"
        lab.note(Finding("it starts once Vault can serve it", text, lab.history.now()))
    return bound + took


def started_again(lab: Lab) -> float:
    """Start once more what refused to start, or was ended, as its supervisor does.

    Returns:
        Seconds that this took, and those that its first call may load for, or none where it runs: a
        start has its own time, and who is slow at it, or has a busy machine, is no slower to
        recover for that.
    """
    if lab.started and not lab.client.closed:
        return 0.0
    began = lab.history.now()
    lab.open()
    return lab.history.now() - began + LOADS


GIVEN_UP = 0.9
"""Of a life: from here on a token may be given up that could not be renewed."""


def given_up(lab: Lab, fault: Fault) -> float:
    """When a token may be given up that could not be renewed since that fault began.

    A fault that is as long as calls take lasts until then for who declares a long deadline.
    """
    return last_grant(lab.history, until=fault.began) + GIVEN_UP * lab.ttl


NEXT_CALL = 1.0
"""Seconds beyond a deadline in which a call has ended in vain, and the next one is served."""


def recovery_of_calls(lab: Lab, fault: Fault) -> float:
    """Seconds after a fault in which a good read must come, where a call may still be waiting.

    Where nobody ever answers a call waits for its whole deadline, whether Vault is back or not.
    """
    return max(lab.recovery_after(fault), lab.deadline + NEXT_CALL)


def accessor_in_use(lab: Lab, *, at: float) -> str:
    """The accessor of the token that reads are sent with at a moment in which nothing is lost.

    The last good read tells it, and not the last login, whose answer may have been lost before. A
    login that was answered after that read, and by then, has replaced it: the next read has its
    token, and the one before would be sent no more.

    Args:
        lab: The scenario.
        at: When; what was answered later has not reached the client, for its answer is held up.

    Raises:
        NotExercised: It never logged in.
    """
    reads = lab.history.find("read", until=at, where=came_through)
    if not reads:
        return lab.accessor()
    newer = [
        login.accessor
        for login in lab.history.logins(since=reads[-1].began)
        if login.accessor and (login.ended or at) < at
    ]
    return newer[-1] if newer else lab.recorder.accessor(reads[-1].token) or lab.accessor()


ASKED_FROM, TRIED_BY = 0.7, 0.92
"""Of a life: when callers come to who has not renewed yet, and how long a renewal is waited for."""


def renewal_comes(lab: Lab, fault: Fault, callers: ExitStack, came: Callable[[], bool]) -> bool:
    """Wait for the renewal that a fault is to meet; whether it came before the end was near.

    Whoever renews in the call of who comes when it is time needs one, and another to try again: so
    somebody reads, from a time on at which most have renewed by a timer of their own.

    Args:
        lab: The scenario; nobody reads in it.
        fault: What the renewal is to meet; it lasts.
        callers: The reads last until this is closed.
        came: Whether it has met one.
    """
    granted = last_grant(lab.history, until=fault.began)
    if lab.until(came, within=granted + ASKED_FROM * lab.ttl - lab.history.now()):
        return True
    callers.enter_context(lab.reading(every=0.5))
    return lab.until(came, within=granted + TRIED_BY * lab.ttl - lab.history.now())


_ELECTION = 30.0
"""Seconds in which another node must lead: a hundred times what an idle machine takes."""


def fails_over(lab: Lab, fault: Fault, *, lost: Node, within: float | None = None) -> float:
    """Wait until another node leads, and lead clients there, as a load balancer does.

    From then on the subject has its time: a good read is waited for, and an oracle says whether it
    came while the lost leader was still out. That another node leads is a required condition.

    Args:
        lab: The scenario; callers must go on reading.
        fault: What the leader was lost by; it lasts.
        lost: The node that led.
        within: Seconds from the moment that Vault serves again; by default what the length of the
            outage and the declared back-off give, or a call's deadline, if that is more.

    Returns:
        When Vault served the subject again, on the history's clock (`served_again`).

    Raises:
        DeadlineExceeded: No other node leads.
    """
    leader = lab.stack.leader(without=lost, timeout=_ELECTION)
    wait_until(
        lambda: _serves(lab, leader),
        f"{leader.name} to answer a request with a token",
        timeout=_ELECTION,
    )
    lab.recorder.upstream = joined(leader.address)
    elected = lab.history.now()
    outage = elected - fault.began
    lab.history.mark(f"{leader.name} leads, Vault serves again after {outage:.2f} s")
    lab.require(
        "another node leads",
        lambda _: f"{leader.name} in place of {lost.name}" if leader is not lost else False,
    )
    bound = recovery_of_calls(lab, replace(fault, ended=elected)) if within is None else within
    lab.until(
        lambda: any(o.good for o in lab.history.calls("read", "read_cached", since=elected)),
        within=bound + lab.deadline,
    )
    lab.ask(recovers_within(bound, since=elected))
    return served_again(lab.history, since=fault.began, known=elected)


def served_again(history: History, *, since: float, known: float) -> float:
    """When Vault served the subject again: the moment may be over before it is known here.

    A leader that steps down forwards what it is asked as soon as another one leads, and finding
    that one out takes a busy machine a second. What the callers read well meanwhile is no storm.

    Args:
        history: With what the subject sent; what is on its way still is neither good nor bad.
        since: When Vault was lost.
        known: When it was known to serve again.

    Returns:
        When the first request began that was answered well after the last that was not; `known`
        if there is none of either.
    """
    sent = history.find(since=since, until=known, where=lambda e: bool(e.status or e.closed))
    bad = [number for number, one in enumerate(sent) if not one.good]
    calm = sent[bad[-1] + 1 :] if bad else []
    return min(calm[0].began, known) if calm else known


def leads_again(lab: Lab) -> None:
    """Wait until any node leads and serves, and lead clients there, as a load balancer does.

    Raises:
        DeadlineExceeded: None does.
    """
    leader = lab.stack.leader(timeout=_ELECTION)
    wait_until(
        lambda: _serves(lab, leader),
        f"{leader.name} to answer a request with a token",
        timeout=_ELECTION,
    )
    lab.recorder.upstream = joined(leader.address)
    lab.history.mark(f"{leader.name} leads, Vault serves again")


def _serves(lab: Lab, node: Node) -> bool:
    """Whether a node answers a request with a token."""
    token = lab.stack.keyring.root_token
    with closing(Operator(node.address, token, node.ca_cert, timeout=1.0)) as operator:
        try:
            return bool(operator.request("GET", "auth/token/lookup-self"))
        except OperatorError:
            return False


@dataclass(frozen=True)
class OtherHost:
    """A second way to the same Vault, under a name that the subject was never told.

    Attributes:
        address: Its base URL.
        history: What reached it.
        paths: Where a client asks for what, by kind of request.
    """

    address: str
    history: History
    paths: Mapping[RequestKind, str]

    def redirects(self) -> tuple[Stub, ...]:
        """Answers that send the subject there, as a standby does that does not forward (307)."""
        return tuple(
            Stub(
                status=307,
                headers={"Location": f"{self.address}/v1/{path}"},
                kinds=frozenset({kind}),
            )
            for kind, path in self.paths.items()
        )

    def findings(self) -> list[Finding]:
        """A finding for each kind of credential that came here."""
        promise = "no token and no secret-id goes to a host that nobody configured"
        return [
            Finding(
                promise,
                f"a {exchange.kind} came to {self.address} with {label}",
                exchange.began,
                harm=True,
            )
            for exchange in self.history.find()
            if (label := exchange.secret_id or exchange.token)
        ][:2]


@contextmanager
def silent_host(lab: Lab) -> Iterator[OtherHost]:
    """Another host that takes connections and never answers, as a leader that stands still."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=1024) as silent,
        other_host(lab, upstream=f"127.0.0.1:{silent.getsockname()[1]}") as host,
    ):
        yield host


@contextmanager
def other_host(lab: Lab, *, upstream: str | None = None) -> Iterator[OtherHost]:
    """Another host on the network, that notes what it is given.

    Args:
        lab: The scenario.
        upstream: ``host:port`` of what it leads to; the same Vault by default.
    """
    history = History(started_wall=lab.history.started_wall, started=lab.history.started)
    recorder = Recorder(
        history,
        lab.secrets,
        upstream=upstream or lab.recorder.upstream,
        tls=lab.recorder.tls,
        upstream_tls=None if upstream else lab.recorder.upstream_tls,
    )
    try:
        # By another name than the subject's VAULT_ADDR, which is a number.
        yield OtherHost(
            base_url(f"localhost:{recorder.port}", tls=recorder.tls is not None),
            history,
            {
                "read": f"{lab.entry.mount}/data/{lab.entry.path}",
                "renew": "auth/token/renew-self",
                "lookup": "auth/token/lookup-self",
                "login": "auth/approle/login",
                "revoke": "auth/token/revoke-self",
                "capabilities": "sys/capabilities-self",
                "unwrap": "sys/wrapping/unwrap",
                "lease": "sys/leases/renew",
                "credential": "database/creds/app",
                "write": f"{lab.entry.mount}/data/{lab.entry.path}",
                "metadata": f"{lab.entry.mount}/metadata/{lab.entry.path}",
                "status": "sys/health",
                "other": "sys/internal/ui/mounts",
            },
        )
    finally:
        recorder.close()


@contextmanager
def dead_connections(lab: Lab) -> Iterator[Fault]:
    """Connections that are open now never answer again, and do not end; new ones work.

    As when a firewall forgets an idle connection. Toxiproxy cannot do that: its toxics act on new
    connections too.

    Raises:
        NotClaimed: The subject keeps none open.
    """
    mark = Signature(unanswered=True, swallowed=True)
    fault = lab.history.begin_fault("idle connections dead", mark)
    if not lab.recorder.deafen():
        raise NotClaimed("the subject keeps no connection open between requests")
    try:
        yield fault
    finally:
        lab.history.end_fault(fault)


@contextmanager
def nobody_takes_connections(lab: Lab) -> Iterator[Fault | None]:
    """Open connections end, and a new one is neither taken nor refused while the block runs.

    As behind a firewall that drops what it does not let through, or where a machine has lost its
    power: to connect takes as long as the kernel tries, which is two minutes. Linux drops what asks
    for a connection where a listener has no room for another one. It leaves no witness but a call,
    as a refused connection does, so it need not be met.

    Yields:
        The fault; None where Toxiproxy does not listen on this machine, so that nobody can do so in
        its place.
    """
    with ExitStack() as undo:
        lab.proxy.disable()
        undo.callback(lab.proxy.enable)
        try:
            full = undo.enter_context(socket.create_server(lab.proxy.address, backlog=0))
        except OSError as error:
            lab.history.mark(f"connections are taken all the while: {type(error).__name__}")
            yield None
            return
        for _ in range(4):  # it takes one more than it is told to; the others wait as a client does
            waiting = undo.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        mark = Signature(unanswered=True, answers_late=inf)
        fault = lab.history.begin_fault("nobody takes connections", mark, optional=True)
        try:
            yield fault
        finally:
            undo.close()  # what is promised for the time after it begins when it is over
            lab.history.end_fault(fault)


def handshakes_since(since: float) -> Condition:
    """At least one TLS handshake of the subject that ended after `since`, well or not."""

    def condition(history: History) -> str:
        ended = [one for one in list(history.handshakes) if one.at >= since]
        good = sum(one.protocol is not None for one in ended)
        return f"{good} good, {len(ended) - good} refused" if ended else ""

    return condition


@contextmanager
def vault_gone(lab: Lab) -> Iterator[Fault]:
    """Vault is gone behind its proxy: connections are accepted and end at once.

    Unlike a refused connection, each one can be counted.
    """
    with lab.recorder.away():
        mark = Signature(unanswered=True, turned_away=True, answers_late=inf)
        fault = lab.history.begin_fault("Vault gone behind its proxy", mark)
        try:
            yield fault
        finally:
            lab.history.end_fault(fault)


def turns(lab: Lab, *, well: bool, within: float, every: float = 0.3) -> bool:
    """Ask the subject for its health until it says so, or for so many seconds; whether it did."""
    began = lab.history.now()
    while lab.client.healthy() != well:
        now = lab.history.now()
        if now > began + within + lab.history.slack(began, now):
            return False
        lab.watch(every)
    return True


def allow_writes(lab: Lab, path: str) -> None:
    """Let tokens that the role gets from now on write one secret, and see which version it has."""
    client = lab.operator.client
    may = '["create", "update", "patch", "read"]'
    rules = f'path "{lab.entry.mount}/data/{path}" {{ capabilities = {may} }}\n'
    rules += f'path "{lab.entry.mount}/metadata/{path}" {{ capabilities = ["read"] }}'
    client.sys.create_or_update_policy("scenario-writer", rules)
    address = f"/v1/auth/approle/role/{lab.entry.approle}"
    role = client.adapter.get(address)["data"]
    policies = [*role["token_policies"], "scenario-writer"]
    client.adapter.post(address, json={"token_policies": policies})


def canary(lab: Lab) -> str:
    """A value for the subject to write; it must come out no more than one that it reads."""
    value = f"canary-written-{token_hex(16)}"
    lab.secrets.add("written", value)
    return value


def version_of(lab: Lab, path: str, *, at: Operator | None = None) -> int:
    """The number of a secret's latest version, as one node has it; 0 if there is none."""
    answer = (at or lab.operator).client.adapter.request(
        "GET", f"/v1/{lab.entry.mount}/metadata/{path}", raise_exception=False
    )
    data = answer.get("data") if isinstance(answer, dict) else None
    return int(data["current_version"]) if data else 0


def sleeps(lab: Lab, seconds: float) -> Fault:
    """The subject's process stands still for so long, and its token ends meanwhile.

    Both are looked at, and required: a process that somebody else woke, or a token that lived
    longer than it was made for, would show nothing of a sleep.
    """
    client, accessor = lab.client, lab.accessor()
    pid = client.subject.pid
    assert pid is not None
    with lab.process.client_paused(pid) as fault:
        lab.watch(seconds)
        still = _stands_still(pid)
        ended = not lab.token_lives(accessor)
    lab.require(
        "a process that stands still to the end of its sleep",
        lambda _: f"for {fault.length:.1f} s" if still else "",
    )
    lab.require(
        "a token that ended in that sleep", lambda _: f"after {fault.length:.1f} s" if ended else ""
    )
    return fault


def _stands_still(pid: int) -> bool:
    """Whether a process is there, and stopped."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


NO_OTHER_TOKEN = 0.8
"""Of a life: some clients are done with a token in the fifth that is left from here on."""


def served_while_its_token_lives(lab: Lab, *, since: float, ends: float) -> None:
    """Find fault with a read that fails while no other token is to be had.

    Unless a login was refused in the time of that call: some log in in the call of whoever comes
    when it is time, and some let others wait for that. The next have the token that lives: who has
    thrown it away, and tries one login in each call, has no good read between them.

    Args:
        lab: The scenario.
        since: From when on logins are refused.
        ends: When the token ends; it has to serve up to `NO_OTHER_TOKEN` of its life.
    """
    until = ends - (1 - NO_OTHER_TOKEN) * lab.ttl
    refused = lab.history.find("login", since=since, where=lambda e: e.status == 400)
    calls = lab.history.calls("read", since=since, until=until)
    failed = [
        call
        for call in calls
        if call.failed and not any(_at_the_same_time(call, login) for login in refused)
    ]
    if failed:
        first = failed[0]
        promise = "no read fails for want of another token while its token lives"
        text = f"{len(failed)} of {len(calls)} did, the first is {first.told}"
        lab.note(Finding(promise, text, first.began, until=first.ended))
    # Two calls that wait for their whole time, and a moment more.
    lab.judge_later(
        reads_go_on(2 * lab.deadline + 1.0, since=since, until=until, path=lab.entry.path)
    )


def _at_the_same_time(call: Operation, login: Exchange) -> bool:
    """Whether a call was under way while a login was."""
    return login.began <= (call.ended or inf) and call.began <= (login.ended or inf)


def lockout(lab: Lab) -> set[str]:
    """The subject's role, in words, if failed logins have locked it for everybody."""
    locked = approle.locked(lab.operator)
    role = lab.entry.approle
    return {f"{role} is in sys/locked-users" for found in locked if found.role_id == lab.role_id}


@dataclass(frozen=True)
class Footprint:
    """What a subject holds of its machine's resources; None of what cannot be told.

    Attributes:
        threads: Of all its processes; the scenario's own too for a subject within this process.
        files: Open file descriptors of them, sockets among them.
        connections: Those of its connections that are open and have got as far as the recorder.
    """

    threads: int | None
    files: int | None
    connections: int | None

    def least(self, other: Footprint) -> Footprint:
        """The less of each; where only one of the two looks could tell, what that one saw."""
        pairs = self._beside(other).values()
        return Footprint(*(min((n for n in pair if n is not None), default=None) for pair in pairs))

    def growth(self, later: Footprint, *, spare: int) -> set[str]:
        """What grew by more than `spare`, in words; nothing of what cannot be told."""
        return {
            f"{name}: {before} before, {after} after"
            for name, (before, after) in self._beside(later).items()
            if before is not None and after is not None and after > before + spare
        }

    def compared(self, later: Footprint) -> str:
        """What `growth` can see, and what it cannot, in words."""
        told = {name: None not in pair for name, pair in self._beside(later).items()}
        seen, unseen = (", ".join(n for n in told if told[n] is one) for one in (True, False))
        return f"{seen}; cannot tell: {unseen}" if unseen else seen

    def _beside(self, other: Footprint) -> dict[str, tuple[int | None, int | None]]:
        return {
            "threads": (self.threads, other.threads),
            "open files": (self.files, other.files),
            "connections": (self.connections, other.connections),
        }


def threads_beside(before: Collection[threading.Thread]) -> int:
    """How many threads there are that were not there before.

    What an earlier subject left behind ends at some time, and would hide what this one leaves.
    """
    return sum(one not in before for one in threading.enumerate())


_QUIET, _PATIENCE = 0.5, 3.0
"""Seconds in which a footprint at rest does not become less, and for which that is waited."""


def footprint_at_rest(lab: Lab) -> Footprint:
    """The least that the subject holds while nothing is under way.

    A thread that ends and a connection that closes, which take longer on a busy machine, are in a
    single look. What is compared with it later could grow by as much more and be no leak.

    Raises:
        NotClaimed: As `footprint`.
    """
    history = lab.history
    least, since = footprint(lab), history.now()
    end = since + _PATIENCE
    while history.now() < min(since + _QUIET, end):
        history.let_pass(0.05, what="an event")
        now = least.least(footprint(lab))
        if now != least:
            least, since = now, history.now()
    return least


def footprint(lab: Lab) -> Footprint:
    """The subject's footprint now; nothing else should be under way.

    Connections are counted by the recorder, which knows them whichever Toxiproxy runs. Of a client
    behind somebody's HTTP server nothing else can be told: where its process is, nobody says.

    Raises:
        NotClaimed: This machine does not tell (there is no ``/proc``).
    """
    if not Path("/proc/self/fd").is_dir():
        raise NotClaimed("what a process holds can only be counted where there is /proc")
    subject, recorder = lab.client.subject, lab.recorder
    if subject.pid is not None:
        return Footprint(*held_by(subject.pid), recorder.open_connections())
    if subject.kind != "in-process":
        return Footprint(None, None, recorder.open_connections())
    # Both ends of each connection in the recorder are open files of this process as well.
    files = len(list(Path("/proc/self/fd").iterdir())) - len(recorder.ends)
    return Footprint(threads_beside(lab.threads_before), files, recorder.open_connections())


def left_behind(lab: Lab, before: Footprint, *, spare: int) -> set[str]:
    """What a subject holds more of than before by more than `spare`, in words.

    It has 3 s to let go, and has done so once no look of half a second finds anything: who is just
    exchanging what it holds has less of it in a single look. The verdict says what was counted.

    Raises:
        NotClaimed: As `footprint`.
    """
    history = lab.history
    began = quiet = history.now()
    while True:
        after, now = footprint(lab), history.now()
        if more := before.growth(after, spare=spare):
            quiet = now
        if now - (began if more else quiet) >= (_PATIENCE if more else _QUIET):
            break
        history.let_pass(0.05, what="an event")
    lab.require("what it holds is counted", lambda _: before.compared(after))
    return more


def processor_time(lab: Lab) -> float | None:
    """Seconds of processors that a subject has used by now; None of who has no process of its own.

    That of its children is among them, but for those that have ended: of two looks the second may
    have less.
    """
    pid = lab.client.subject.pid
    if pid is None:
        return None
    total = 0.0
    with suppress(ProcessLookupError):  # that it has died is for an oracle to say
        for process in process_tree(pid):
            with suppress(psutil.Error):
                used = process.cpu_times()
                total += used.user + used.system
    return total


def held_by(pid: int) -> tuple[int | None, int | None]:
    """Threads and open files of a process and all that belong to it; none of one that has died.

    None stands for what this machine does not let us count.
    """
    processes: list[psutil.Process] = []
    with suppress(ProcessLookupError):  # that it has died is for an oracle to say
        processes = process_tree(pid)
    return _sum(processes, psutil.Process.num_threads), _sum(processes, psutil.Process.num_fds)


def _sum(
    processes: Collection[psutil.Process], count: Callable[[psutil.Process], int]
) -> int | None:
    total = 0
    for process in processes:
        try:
            total += count(process)
        except psutil.AccessDenied:  # it is another user's, or has rights that this one has not
            if not _has_ended(process):
                return None
        except psutil.Error:  # it ended meanwhile
            continue
    return total


def _has_ended(process: psutil.Process) -> bool:
    """Whether it is no more, though its parent may not know yet: it holds nothing then."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
