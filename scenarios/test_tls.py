"""TLS: certificates that are rotated, have expired, or name another host."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from datetime import timedelta
from functools import partial

import pytest

from vault_harness.certificates import LIFE, NOW, Authority
from vault_harness.judge.conditions import Condition
from vault_harness.judge.helpers.calls import ask_for_a_whole
from vault_harness.judge.helpers.connections import end_connections, handshakes_since
from vault_harness.judge.helpers.instead import other_host
from vault_harness.judge.helpers.starts import (
    LEDGER,
    allow_writes,
    await_start,
    canary,
    start_in_background,
    tries_meanwhile,
)
from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import (
    READ_VERBS,
    failures_are,
    no_connection_storm,
    no_credential_sent,
    no_failed_read,
    same_token,
)
from vault_harness.judge.verdict import Finding, NotExercised
from vault_harness.recorder.history import between

SHOWN_AGAIN = 1.0
"""Seconds of a certificate from a withdrawn authority."""


@pytest.mark.scenario("TLS-01")
def test_certificates_are_rotated(lab: Lab) -> None:
    """Rotated certificates and authorities cost no read and no login."""
    lab.start()
    _half_a_file(lab)
    tls, old, new = lab.tls, lab.tls.authority, Authority()

    def under_load() -> float:
        """End all connections and read; return when the reads began."""
        since = lab.history.now()
        end_connections(lab)
        with lab.reading(every=0.2, callers=3):
            lab.watch(1.0)
        return since

    marks = {"statuses": frozenset({200}), "kinds": frozenset({"read"}), "lingers": True}
    with lab.condition("certificate renewed", **marks) as renewal:
        tls.serve(old)
    renewed = under_load()
    with lab.reading(every=0.2, callers=3):
        tls.trust(old, new)
        lab.watch(lab.refresh)
        tls.serve(new)
    shown = under_load()
    with lab.reading(every=0.2, callers=3):
        tls.trust(new)
        lab.watch(lab.refresh)
    alone = under_load()
    exchanged = lab.history.now()
    with lab.reading(every=0.2), lab.vault.token_revoked(lab.tokens.accessor()) as lost:
        lab.hold(lost, 0.0)
        met = lab.history.now() - lost.began
        lab.logs_in_again(since=lost.began, within=met + min(0.1 * lab.ttl, 5.0))
    tls.serve(old)
    lab.network.drop_connections()
    with lab.condition("certificate of a withdrawn authority", refused=True) as withdrawn:
        with lab.reading(every=0.25, callers=2):
            lab.hold(withdrawn, SHOWN_AGAIN)
        over = lab.history.now()
        tls.serve(new)
    _handshakes_hang(lab)
    lab.require("a connection after the certificate was renewed", handshakes_since(renewed))
    lab.require("a connection after the authority was replaced", handshakes_since(shown))
    lab.require("a connection with the new authority alone", handshakes_since(alone))
    lab.judge(
        no_failed_read(since=renewal.began, until=exchanged),
        same_token(since=renewal.began, until=exchanged),
        no_credential_sent(
            since=withdrawn.began, until=over, to="an authority that was withdrawn", harm=False
        ),
    )


def _handshakes_hang(lab: Lab) -> None:
    with lab.reading(every=0.4, callers=2):
        with lab.network.black_hole(stream="upstream") as silent:
            silent.optional = True  # a client that answers from memory need not connect
            lab.network.drop_connections()
            lab.watch(1.5 * lab.deadline)
        lab.recovers(after=silent)
    lab.judge_later(
        failures_are(
            "unavailable", since=silent.began, until=silent.end, verbs=READ_VERBS, may_be_empty=True
        )
    )


HALF_WRITTEN = 0.5


def _half_a_file(lab: Lab) -> None:
    """Write half of the CA file in place, and show a stranger's certificate.

    The client must refuse it, and recover when the file is whole.
    """
    tls = lab.tls
    with lab.reading(every=0.2, callers=3):
        with lab.condition("half a CA file", refused=True, unanswered=True) as half:
            tls.half_write(tls.authority)
            tls.serve(Authority())
            lab.watch(ON_ITS_WAY)  # for a handshake with the earlier certificate
            lab.network.drop_connections()
            shown = lab.history.now()
            met = partial(_goes_by_it, lab, shown, len(lab.history.connections))
            lab.hold(half, HALF_WRITTEN)
            lab.until(met, within=lab.reach)
            lab.watch(ON_ITS_WAY)  # for requests over such a connection
            over = lab.history.now()
            lab.require("a handshake, or a read in vain, by half a file", _seen(met()))
            tls.trust(tls.authority)
            tls.serve(tls.authority)
        # A client that trusts nobody for the moment may read the file only once in R.
        lab.recovers(after=half, within=lab.recovery_after(half) + lab.refresh)
    lab.judge_later(
        no_credential_sent(since=shown, until=over, to="a stranger, beside half a CA file"),
        failures_are(
            "unavailable", since=half.began, until=half.end, verbs=READ_VERBS, may_be_empty=True
        ),
        same_token(since=half.began, until=lab.history.now()),
    )


def _goes_by_it(lab: Lab, since: float, known: int) -> bool:
    reads = lab.history.calls("read", since=since, where=lambda o: o.failed or o.outcome == "stale")
    return bool(reads) or any(one.connection > known for one in list(lab.history.handshakes))


@pytest.mark.scenario("TLS-02")
def test_expired_client_certificate(lab: Lab) -> None:
    """An expired client certificate costs no storm, and its replacement is used soon."""
    tls, people = lab.tls, Authority()
    life = PART * lab.ttl
    tls.give_client_certificate(people, life=timedelta(seconds=life))
    expires = lab.history.now() + life
    tls.serve(tls.authority, clients=people)
    _start_before(lab, expires)
    with lab.reading(every=0.5, callers=2):
        back = _back_while_it_is_good(lab, expires)
        lab.watch(expires + WHOLE - lab.history.now())
        with lab.condition("client certificate expired", refused=True) as fault:
            lab.network.drop_connections()
            since = lab.history.now() + ON_ITS_WAY + lab.refresh
            lab.hold(fault, 5.0)
            if not lab.touched(fault) and (vain := _reads_in_vain(lab, since=since)):
                if back is None:
                    lab.wanted_ttl = (lab.longest_start + lab.reach + WHOLE) / PART
                    raise NotExercised("its certificate ended too soon to tell what it rests for")
                # The client knows when its certificate ends, and need not try.
                fault.optional = back
                lab.require("a failed read for each refused handshake", _seen(vain))
            tls.give_client_certificate(people)
        # A client may read its certificate files only once in R.
        lab.recovers(after=fault, within=lab.recovery_after(fault) + lab.refresh)
    lab.judge(no_connection_storm(since=fault.began, until=fault.end))


PART, WHOLE = 0.5, 1.0
"""A client certificate's life, as a part of the TTL; the precision of its end in seconds."""


def _back_while_it_is_good(lab: Lab, expires: float) -> bool | None:
    """End all connections; return whether a new handshake came while the certificate was good.

    None if it ends too soon to tell.
    """
    if lab.history.now() + lab.reach > expires - WHOLE:
        return None
    known = len(lab.history.connections)
    with lab.condition("connections ended", optional=True) as ended:
        lab.network.drop_connections()
    lab.recovers(after=ended)
    # A client that answers from memory connects only at its next refresh.
    return lab.until(
        partial(_shakes_hands, lab, known), within=ended.end + lab.reach - lab.history.now()
    )


def _shakes_hands(lab: Lab, known: int) -> bool:
    made = [one for one in list(lab.history.handshakes) if one.connection > known]
    return any(one.protocol is not None for one in made)


def _reads_in_vain(lab: Lab, *, since: float) -> int:
    """Return the number of finished reads if all failed; otherwise 0."""
    reads = lab.history.calls("read", since=since, where=lambda o: o.ended is not None)
    return 0 if any(read.good for read in reads) else len(reads)


def _start_before(lab: Lab, end: float) -> None:
    """Start the subject; ask for a longer TTL next time if its certificate ended too soon."""
    why: NotExercised | None = None
    try:
        lab.start()
    except NotExercised as error:
        if not lab.started or lab.history.now() < end:
            raise
        why = error  # without the certificate it may have read nothing
    if why is not None or lab.history.now() > end - WHOLE:
        lab.wanted_ttl = (lab.longest_start + WHOLE) / PART
        raise NotExercised(
            f"the subject took longer to start than its certificate is good: {PART * lab.ttl:g} s"
        ) from why


LATEST = 0.9
"""Part of a life in which a client tries to renew, or to log in instead."""

CALLED = 0.7
"""Part of a life with callers. The last call ends before the token."""

UNHURRIED = 0.6
"""Part of a life in which a renewal is not urgent."""


@pytest.mark.scenario("TLS-03")
def test_wrong_host(lab: Lab) -> None:
    """A server with another host's, a forged or an untimely certificate gets no credential."""
    allow_writes(lab, LEDGER)
    first, tls = lab.start(), lab.tls
    granted = lab.history.find("login", "renew", where=lambda e: e.good)[-1].began
    tls.serve(tls.authority, "another.test")
    lab.network.drop_connections()
    with lab.condition("certificate of another host", refused=True, unanswered=True) as fault:
        with lab.reading(every=0.5, callers=2):
            # Often separate code, with a session of its own.
            ask_for_a_whole(lab)
            if lab.can("write"):
                first.write(LEDGER, {"entry": canary(lab)})
            lab.hold(fault, max(0.0, fault.began + CALLED * lab.ttl - lab.history.now()))
        lab.watch(fault.began + LATEST * lab.ttl - lab.history.now())
        # At its end a client wants to revoke its token; one that starts now must log in before any
        # call.
        first.close(timeout=5.0 + lab.deadline)
        alone = lab.history.now()
        opened = start_in_background(lab)
        tries_meanwhile(lab, opened, lambda: _tries(lab, alone) > 0, within=20.0)
        lab.watch(0.5)
        tls.serve(Authority())
    lab.network.drop_connections()
    with ExitStack() as callers:
        with lab.condition("certificate of a stranger", refused=True, unanswered=True) as forged:
            lab.until(lambda: opened.is_set() or not lab.client.closed, within=2 * lab.deadline)
            if started := not lab.client.closed:
                callers.enter_context(lab.reading(every=0.5, callers=2))
            elif opened.is_set():  # as a supervisor would
                opened = start_in_background(lab)
            lab.hold(forged, 3.0)
            lab.until(lambda: _tries(lab, forged.began) > 0, within=lab.reach)
            over = lab.history.now()
            opened = _out_of_their_time(lab, opened)
            tls.serve(tls.authority)
        if started:
            lab.recovers(after=forged)
        elif not _starts_after_all(lab, opened):
            why = lab.history.operations[-1].message
            lab.note(Finding("it starts once it is Vault whom it finds", why, lab.history.now()))
    tried = {"another host": (alone, fault.end), "a stranger": (forged.began, over)}
    for whom, (since, until) in tried.items():
        lab.require(
            f"a handshake with {whom} of a client that needs a login",
            _seen(_tries(lab, since, until)),
        )
    lab.judge(
        no_credential_sent(since=fault.began, until=fault.end),
        no_credential_sent(
            since=forged.began, until=over, to="a host whom no trusted authority vouches for"
        ),
        *(
            # The client reached no server that it trusts.
            failures_are(
                "unavailable", since=one.began, until=one.end, verbs=READ_VERBS, may_be_empty=True
            )
            for one in (fault, forged)
        ),
        # Between a late renewal and the end of so short a life a client cannot pause:
        # LifetimeWatcher does not.
        no_connection_storm(since=fault.began, until=granted + UNHURRIED * lab.ttl),
        no_connection_storm(since=forged.began, until=forged.end),
    )


OUT_OF_TIME = {
    "has ended": (timedelta(hours=-2), NOW),
    "is not good yet": (LIFE, timedelta(days=1)),
}
"""The right host and authority, at the wrong time: life and begin."""

ON_ITS_WAY = 0.2
"""Seconds for an earlier handshake to end, and for a new one."""


def _out_of_their_time(lab: Lab, opened: threading.Event) -> threading.Event:
    tried = []
    for which, (life, begins) in OUT_OF_TIME.items():
        lab.tls.serve(lab.tls.authority, life=life, begins=begins)
        shown = lab.history.now()
        lab.watch(ON_ITS_WAY)
        since = lab.history.now()
        opened = _tries_again(lab, opened, since=since)
        lab.watch(ON_ITS_WAY)  # for requests of a client that accepts it
        over = lab.history.now()
        tried.append(_tries(lab, since, over))
        whom = f"a host whose certificate {which}"
        lab.judge_later(no_credential_sent(since=shown, until=over, to=whom))
    lab.require("a handshake with a certificate out of its time", _seen(sum(tried)))
    return opened


def _tries_again(lab: Lab, opened: threading.Event, *, since: float) -> threading.Event:
    end = since + lab.reach
    while not _tries(lab, since) and lab.history.now() < end:
        if _refused_to_start(lab, opened):
            opened = start_in_background(lab)
        lab.until(
            partial(_tried_or_refused, lab, opened, since),
            within=max(0.0, end - lab.history.now()),
        )
    return opened


def _refused_to_start(lab: Lab, opened: threading.Event) -> bool:
    return lab.client.closed and opened.is_set()


def _tried_or_refused(lab: Lab, opened: threading.Event, since: float) -> bool:
    return _tries(lab, since) > 0 or _refused_to_start(lab, opened)


def _starts_after_all(lab: Lab, opened: threading.Event) -> bool:
    await_start(lab, opened)
    return not lab.client.closed or lab.open() is not None


def _seen(count: int) -> Condition:
    return lambda _: f"{count}" if count else ""


def _tries(lab: Lab, since: float, until: float | None = None) -> int:
    end = lab.history.now() if until is None else until
    return between((one.at for one in list(lab.history.handshakes)), since, end)


@pytest.mark.scenario("TLS-04")
def test_redirect_without_encryption(lab: Lab) -> None:
    """After a redirect to a host without TLS, the client sends no token there."""
    lab.start()
    with other_host(lab, plain=True) as other, lab.reading(every=0.5):
        there = {"Location": f"{other.address}/v1/{other.paths['read']}"}
        with lab.http.fail("read", status=307, headers=there, body=b"") as fault:
            lab.hold(fault, 1.0)
        lab.recovers(after=fault)
    for sent in other.history.find(where=lambda e: bool(e.token))[:1]:
        promise = "a token travels over TLS only"
        text = f"a {sent.kind} came to {other.address} with {sent.token}"
        lab.note(Finding(promise, text, sent.began, harm=True))
    lab.judge(failures_are("unavailable", since=fault.began, until=fault.end, may_be_empty=True))
