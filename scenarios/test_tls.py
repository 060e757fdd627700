"""TLS: certificates and authorities that are rotated, that have expired, that name another host."""

from __future__ import annotations

from datetime import timedelta

import pytest

from vault_harness.certificates import Authority
from vault_harness.scenario import Lab, NotExercised
from vault_harness.scenario.helpers import handshakes_since
from vault_harness.scenario.oracles import (
    no_connection_storm,
    no_credential_sent,
    no_failed_read,
    same_token,
)


@pytest.mark.scenario("TLS-01")
def test_certificates_are_rotated(lab: Lab) -> None:
    """A new certificate; then a new authority: trusted first, then shown, then the only one."""
    lab.start()
    tls, old, new = lab.tls, lab.tls.authority, Authority()
    began = lab.history.now()

    def under_load() -> float:
        """Connections that are new, under reads; since when."""
        lab.network.drop_connections()
        since = lab.history.now()
        with lab.reading(every=0.2, callers=3):
            lab.watch(1.0)
        return since

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
    lab.require("a connection after the certificate was renewed", handshakes_since(renewed))
    lab.require("a connection after the authority was replaced", handshakes_since(shown))
    lab.require("a connection with the new authority alone", handshakes_since(alone))
    lab.judge(no_failed_read(since=began), same_token(since=began))


@pytest.mark.scenario("TLS-02")
def test_expired_client_certificate(lab: Lab) -> None:
    """The client's own certificate ends under reads, and a new one comes after some seconds."""
    tls, people = lab.tls, Authority()
    life = 0.5 * lab.ttl
    tls.give_client_certificate(people, life=timedelta(seconds=life))
    expires = lab.history.now() + life
    tls.serve(tls.authority, clients=people)
    lab.start()
    if lab.history.now() > expires - 1.0:
        raise NotExercised(
            f"the subject took longer to start than its certificate is good: {life:g} s"
        )
    with lab.reading(every=0.5, callers=2):
        lab.watch(expires + 1.0 - lab.history.now())  # a certificate's times are whole seconds
        with lab.condition("client certificate expired", refused=True) as fault:
            lab.network.drop_connections()
            lab.hold(fault, 5.0)
            tls.give_client_certificate(people)
        lab.recovers(after=fault)
    lab.judge(no_connection_storm(since=fault.began, until=fault.end))


@pytest.mark.scenario("TLS-03")
def test_wrong_host(lab: Lab) -> None:
    """A trusted authority's certificate for another host, then a stranger's for the right one."""
    lab.start()
    tls = lab.tls
    with lab.reading(every=0.5, callers=2):
        lab.watch(0.5)
        tls.serve(tls.authority, "another.test")
        lab.network.drop_connections()
        with lab.condition("certificate of another host", refused=True, unanswered=True) as fault:
            lab.hold(fault, 4.0)
            tls.serve(tls.authority)
        lab.recovers(after=fault)
        tls.serve(Authority())
        lab.network.drop_connections()
        with lab.condition("certificate of a stranger", refused=True, unanswered=True) as forged:
            lab.hold(forged, 4.0)
            tls.serve(tls.authority)
        lab.recovers(after=forged)
    lab.judge(
        no_credential_sent(since=fault.began, until=fault.end),
        no_credential_sent(
            since=forged.began, until=forged.end, to="a host whom no trusted authority vouches for"
        ),
        no_connection_storm(since=fault.began, until=fault.end),
        no_connection_storm(since=forged.began, until=forged.end),
    )
