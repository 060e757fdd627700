from __future__ import annotations

from typing import Literal

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.oracles import (
    STORM,
    ToTheEnd,
    a_denial_costs_little,
    names_its_namespace,
    no_connection_storm,
    no_credential_sent,
    no_request_storm,
    obeys_retry_after,
    pauses_between_tries,
    quiet,
    requests_a_call_at_most,
    requests_at_most,
)
from vault_harness.recorder.observations import Handshake

ALONE = STORM * 4
"""The requests in a second that are no storm for a client with at most one caller."""


def test_few_requests(story: Story) -> None:
    """Two tries in each call are granted."""
    for n in range(20):
        story.call(10.0 + n / 2, outcome="unavailable")
        story.several("read", 10.0 + n / 2, 10.15 + n / 2)
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []


def test_storm_within_a_second(story: Story) -> None:
    """One request above the limit is a storm."""
    story.several("read", *(12.0 + n / 100 for n in range(ALONE)))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []
    story.sent("login", 12.9, None)
    (seen,) = story.finds(no_request_storm(since=10.0, until=20.0))
    assert seen.startswith("13 requests in one second, 12 are allowed: 12 read, 1 login: read")


def test_steady_rain_is_no_storm(story: Story) -> None:
    story.several("renew", *(10.0 + n * 0.1 for n in range(100)))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []


def test_what_vault_asks_for_is_no_storm(story: Story) -> None:
    """A 429 with `Retry-After: 0` grants one more request."""
    for number in range(ALONE + 3):
        story.sent("read", 12.0 + number * 0.02, 429, retry_after=0.0)
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []
    story.several("read", *(12.4 + n / 50 for n in range(ALONE + 1)), status=429)
    (seen,) = story.finds(no_request_storm(since=10.0, until=20.0))
    assert seen.startswith("13 requests in one second, 12 are allowed")


def test_a_time_to_wait_is_no_invitation(story: Story) -> None:
    for number in range(ALONE + 1):
        story.sent("read", 12.0 + number * 0.05, 429, retry_after=1.0)
    assert len(story.finds(no_request_storm(since=10.0, until=20.0))) == 1


def test_connections_storm_too(story: Story) -> None:
    story.history.connections += [9.0, *(12.0 + n / 100 for n in range(ALONE))]
    assert story.finds(no_connection_storm(since=10.0, until=20.0)) == []
    story.history.connections.append(12.5)
    assert story.finds(no_connection_storm(since=10.0, until=20.0)) == [
        "13 connections in one second, 12 are allowed"
    ]


def test_credentials_for_another_host(story: Story) -> None:
    """Secrets count only over a connection that was secured within the time."""
    shaken = story.history.handshakes
    shaken += [Handshake(5.0, 1, "h2"), Handshake(12.0, 2, "h2"), Handshake(12.5, 3, refused="no")]
    for connection, at in ((1, 12.1), (2, 5.1), (3, 12.6)):
        story.sent("read", at, token="token-1").connection = connection
    story.sent("status", 12.7).connection = 2
    assert story.finds(no_credential_sent(since=10.0, until=20.0)) == []
    story.sent("login", 12.8, secret_id="secret-id-1").connection = 2
    assert story.finds(no_credential_sent(since=10.0, until=20.0)) == [
        "a login was sent to another host, with secret-id-1"
    ]


def test_credentials_for_a_stranger(story: Story) -> None:
    """The receiver has the scenario's name."""
    story.history.handshakes.append(Handshake(12.0, 1, "h2"))
    story.sent("read", 12.1, token="token-1").connection = 1
    assert story.finds(no_credential_sent(since=10.0, until=20.0, to="a stranger")) == [
        "a read was sent to a stranger, with token-1"
    ]


def test_callers_bring_their_own_requests(story: Story) -> None:
    for caller in range(3):
        story.call(12.0, 12.9, "unavailable").caller = caller
    story.several("read", *(12.0 + n / 100 for n in range(STORM * 10)))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []
    story.sent("read", 12.5)
    (seen,) = story.finds(no_request_storm(since=10.0, until=20.0))
    assert seen.startswith("31 requests in one second, 30 are allowed")


@pytest.mark.parametrize(
    ("verb", "path"),
    [("start", ""), ("lease", "database/creds/app"), ("read_all", "backend/django")],
)
def test_starts_leases_and_whole_secrets_count_as_callers(
    story: Story, verb: str, path: str
) -> None:
    story.call(11.0, outcome="unavailable").caller = 1
    story.call(12.0, 12.9, "unavailable", verb=verb, path=path)
    callers = 2
    story.several("login", *(12.0 + n / 100 for n in range(STORM * (1 + 3 * callers))))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []
    story.sent("login", 12.5)
    assert len(story.finds(no_request_storm(since=10.0, until=20.0))) == 1


def test_start_and_its_first_caller_are_one(story: Story) -> None:
    story.call(9.0, 21.0, "ok", verb="start")
    story.call(19.0)
    story.several("login", *(12.0 + n / 100 for n in range(ALONE + 1)))
    assert len(story.finds(no_request_storm(since=10.0, until=20.0))) == 1


def test_calls_before_the_fault_bring_nothing(story: Story) -> None:
    """They ended before the time."""
    story.call(1.0, 9.9, verb="start")
    story.call(1.0, 9.9).caller = 1
    story.call(1.0, 9.9).caller = 2
    story.several("login", *(12.0 + n / 100 for n in range(ALONE + 1)))
    assert len(story.finds(no_request_storm(since=10.0, until=20.0))) == 1


def test_fast_caller_grants_nothing(story: Story) -> None:
    """Many calls of one caller count as one caller."""
    for n in range(100):
        story.call(12.0 + n / 200, outcome="unavailable")
    story.several("read", *(12.0 + n / 200 for n in range(ALONE + 1)))
    assert len(story.finds(no_request_storm(since=10.0, until=20.0))) == 1


def test_kept_secrets_bring_their_own_requests(story: Story) -> None:
    """Each secret that was read before adds to the limit."""
    for n in range(3):
        story.sent("read", 1.0, path=f"/v1/ecommerce/data/kept/{n}")
    story.several("renew", *(12.0 + n / 100 for n in range(ALONE + 3 * STORM)))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []
    story.sent("renew", 12.05)
    assert len(story.finds(no_request_storm(since=10.0, until=20.0))) == 1


def test_each_of_many_clients_brings_its_own_requests(story: Story) -> None:
    story.history.clients = 4
    story.sent("read", 1.0, path="/v1/ecommerce/data/kept/1")
    allowed = STORM * (4 * 2 + 3)
    story.several("renew", *(12.0 + n / 100 for n in range(allowed)))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []
    story.sent("renew", 12.05)
    (seen,) = story.finds(no_request_storm(since=10.0, until=20.0))
    assert seen.startswith("34 requests in one second, 33 are allowed")


def test_one_kind_is_quiet() -> None:
    """Quiet is three a second, with at least three in all."""
    assert [quiet(seconds) for seconds in (0.2, 1.0, 4.9)] == [3, 3, 12]


def test_storm_beside_a_denial(story: Story) -> None:
    """It has a limit of its own."""
    for number in range(9):
        story.sent("read", 12.0 + number / 10, 403, path=DENIED)
        story.sent("metadata", 12.0 + number / 10, 403, path=DENIED.replace("data", "metadata"))
        story.several("lookup", 12.0 + number / 10)
        story.several("capabilities", 12.0 + number / 10)
        story.several("login", 12.0 + number / 10)
    assert story.finds(no_request_storm(since=10.0, until=20.0, denied="ai/openai")) == []
    story.several("status", *(12.0 + n / 20 for n in range(ALONE)))
    story.sent("read", 12.1, path="/v1/ecommerce/data/backend/redis")
    [seen] = story.finds(no_request_storm(since=10.0, until=20.0, denied="ai/openai"))
    assert seen.startswith("13 requests in one second, 12 are allowed: 12 status, 1 read")


def test_requests_outside_the_fault(story: Story) -> None:
    story.several("read", *(9.0 + n / 100 for n in range(50)))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []


def test_requests_of_some_kinds(story: Story) -> None:
    """They are counted by kind and end of path."""
    story.sent("lookup", 1.0, path="auth/token/lookup-self")
    story.sent("read", 2.0, 403, path="ecommerce/data/ai/openai")
    story.sent("read", 3.0, 403, path="ecommerce/data/ai/openai")
    assert story.finds(requests_at_most(1, "lookup", "capabilities", since=0.0)) == []
    assert story.finds(requests_at_most(1, "read", since=0.0, path="ai/openai")) == [
        "2 read requests (+2.00, +3.00)"
    ]
    assert story.finds(requests_at_most(1, "read", since=0.0, path="ai/other")) == []
    assert story.finds(requests_at_most(2, since=0.0)) == [
        "3 requests: 1 lookup, 2 read: lookup +1.00 (200), read +2.00 (403), read +3.00 (403)"
    ]
    assert story.finds(requests_at_most(1, since=1.5, until=2.5)) == []


def test_requests_of_one_call(story: Story) -> None:
    story.call(1.0, 2.0)
    story.call(3.0, 4.0)
    story.several("read", 1.1, 1.2, 3.1, 3.2)
    assert story.finds(requests_a_call_at_most(2, "read", since=0.0)) == []
    story.several("lookup", 3.3)
    assert story.finds(requests_a_call_at_most(2, "read", since=0.0)) == []
    assert story.finds(requests_a_call_at_most(2, "read", "lookup", since=0.0)) == [
        (
            "3 requests: 2 read, 1 lookup: read +3.10 (200), read +3.20 (200), lookup +3.30 (200)"
            " in one call"
        )
    ]
    assert story.finds(requests_a_call_at_most(1, "read", since=0.0)) == [
        "2 read requests (+1.10, +1.20) in one call"
    ]
    assert story.finds(requests_a_call_at_most(2, "read", since=5.0)) == [
        "nothing shows it: there was no read after +5.00 s"
    ]


def test_a_client_may_read_beside_a_call(story: Story) -> None:
    """It may if it also reads without calls."""
    story.call(1.0, 2.5)
    story.several("read", 1.1, 1.2, 1.3, 1.4)
    asked = requests_a_call_at_most(2, "read", since=0.0)
    assert story.finds(asked) == ["4 read requests (+1.10, +1.20, +1.30, +1.40) in one call"]
    story.several("lookup", 5.0)
    assert len(story.finds(asked)) == 1
    story.several("read", 5.0)
    assert story.finds(asked) == []
    story.several("read", 1.5)
    assert len(story.finds(asked)) == 1


def test_reads_of_another_secret_grant_nothing(story: Story) -> None:
    story.call(1.0, 2.5)
    for at in (1.1, 1.2, 1.3):
        story.sent("read", at, path="ecommerce/data/backend/django")
    asked = requests_a_call_at_most(2, "read", since=0.0, path="backend/django")
    for path, found in (("backend/redis", 1), ("backend/django", 0)):
        story.sent("read", 5.0, path=f"ecommerce/data/{path}")
        assert len(story.finds(asked)) == found


def test_reads_after_the_time_grant_nothing(story: Story) -> None:
    story.call(1.0, 2.5)
    for at in (1.1, 1.2, 1.3, 5.0):
        story.sent("read", at, path="ecommerce/data/backend/django")
    missing = requests_a_call_at_most(2, "read", since=0.0, until=3.0, path="backend/django")
    assert len(story.finds(missing)) == 1


# Pauses


def test_tries_with_pauses(story: Story) -> None:
    """The second may come at once; four must take 0.2 s."""
    story.call(1.0, 2.0)
    story.several("read", 1.0, 1.01, 1.1, 1.25)
    assert story.finds(pauses_between_tries(since=0.0, until=9.0)) == []


def test_tries_without_pauses(story: Story) -> None:
    """Four tries take less than 0.2 s."""
    story.call(1.0, 2.0)
    story.several("read", 1.0, 1.01, 1.1, 1.19)
    assert story.finds(pauses_between_tries(since=0.0, until=9.0)) == [
        "4 tries in 0.19 s (+1.00, +1.01, +1.10, +1.19)"
    ]


def test_tries_beside_a_look_of_its_own(story: Story) -> None:
    """A request that is also sent without calls is no try."""
    story.call(1.0, 1.8)
    story.several("read", 1.0, 1.01, 1.05, 1.11, 5.0)
    assert story.finds(pauses_between_tries(since=0.0, until=9.0)) == []
    story.several("read", 1.02, 1.03)
    assert len(story.finds(pauses_between_tries(since=0.0, until=9.0))) == 1


def test_a_clients_own_requests_do_not_hide_tries_without_a_pause(story: Story) -> None:
    story.call(1.0, 3.9)
    story.several("read", 1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.35, 5.0)
    assert len(story.finds(pauses_between_tries(since=0.0, until=9.0))) == 1


def test_two_tries_at_once(story: Story) -> None:
    """A single repetition in each call is no loop."""
    story.call(1.0, 1.1)
    story.call(1.2, 1.3)
    story.several("read", 1.0, 1.01, 1.2, 1.21)
    assert story.finds(pauses_between_tries(since=0.0, until=9.0)) == []


# Retry-After


def refused(story: Story, at: float, retry_after: float | None = 3.0) -> None:
    exchange = story.sent("read", at, 429, ended=at)
    exchange.retry_after = retry_after


def test_patience(story: Story) -> None:
    """Other requests may go on."""
    refused(story, 1.0)
    story.several("renew", 2.0)
    story.several("read", 3.99)
    assert story.finds(obeys_retry_after(since=0.0, until=9.0)) == []


def test_impatience(story: Story) -> None:
    """Any call may have sent it."""
    story.call(1.0, 1.1, "stale")
    story.call(2.0, 2.1, "stale")
    refused(story, 1.0)
    story.several("read", 2.0, 3.9)
    assert story.finds(obeys_retry_after(since=0.0, until=9.0)) == [
        "asked again after 1.00 s, told to wait 3 s; 2 reads within that time (+2.00, +3.90)"
    ]


def test_impatience_of_writes(story: Story) -> None:
    """Only writes must wait."""
    refused(story, 1.0)
    story.several("write", 2.0)
    story.sent("write", 3.0, 429, retry_after=3.0)
    story.several("read", 4.5)
    asked = obeys_retry_after(since=0.0, until=9.0, kind="write")
    assert story.finds(asked) == []
    story.several("write", 4.0)
    assert story.finds(asked) == [
        "asked again after 0.99 s, told to wait 3 s; 1 write within that time (+4.00)"
    ]


def test_a_request_sent_before_the_answer_is_excused(story: Story) -> None:
    story.sent("read", 0.9, 200)
    refused(story, 1.0)
    assert story.finds(obeys_retry_after(since=0.0, until=9.0)) == []


@pytest.mark.parametrize(
    ("connection", "late", "protocol", "obeys"),
    [
        pytest.param(2, 0.02, "http/1.1", True, id="another that was open"),
        pytest.param(2, 0.1, "http/1.1", False, id="another, later"),
        pytest.param(1, 0.02, "http/1.1", False, id="the same"),
        pytest.param(1, 0.02, "h2", True, id="the same, of HTTP/2"),
        pytest.param(3, 0.02, "http/1.1", False, id="a new one"),
    ],
)
def test_a_request_may_cross_the_answer(
    story: Story, connection: int, *, late: float, protocol: str, obeys: bool
) -> None:
    """It crosses it over another open connection."""
    story.history.connections += [0.5, 0.6, 1.005]
    for number in (1, 2, 3):
        story.history.note_handshake(number, protocol)
    refused(story, 1.0)
    story.sent("read", 1.0 + late).connection = connection
    assert (story.finds(obeys_retry_after(since=0.0, until=9.0)) == []) is obeys


@pytest.mark.parametrize(
    ("began", "obeys"),
    [
        pytest.param((0.3, 0.98), True, id="two, one of them just before"),
        pytest.param((0.98,), False, id="one, which asks again at once"),
        pytest.param((0.3, 0.5), False, id="two, and neither has just begun"),
    ],
)
def test_connection_that_is_opened_as_the_answer_comes(
    story: Story, began: tuple[float, ...], *, obeys: bool
) -> None:
    """A call that has just begun may open it."""
    story.history.connections += [0.5, 1.001]
    for at in began:
        story.call(at, 4.0)
    refused(story, 1.0)
    story.sent("read", 1.002).connection = 2
    assert (story.finds(obeys_retry_after(since=0.0, until=9.0)) == []) is obeys


@pytest.mark.parametrize(("calls", "obeys"), [(2, True), (1, False)])
def test_two_calls_at_once_over_one_connection(story: Story, calls: int, *, obeys: bool) -> None:
    """The second request waits for the connection, and not because the client repeats it."""
    story.history.connections += [0.5]
    for number in range(calls):
        story.call(0.998 + 0.004 * number, 1.1, "unavailable")
    refused(story, 1.0)
    story.sent("read", 1.004, 429)
    assert (story.finds(obeys_retry_after(since=0.0, until=9.0)) == []) is obeys


def test_call_that_asks_again_at_once_beside_another(story: Story) -> None:
    """It has no first request left."""
    story.history.connections += [0.98, 0.981, 1.001]
    story.call(0.98, 4.0)
    story.call(0.98, 4.0)
    story.sent("read", 0.99).connection = 2
    refused(story, 1.0)
    story.sent("read", 1.002).connection = 3
    assert story.finds(obeys_retry_after(since=0.0, until=9.0)) == [
        "asked again after 0.00 s, told to wait 3 s; 1 read within that time (+1.00)"
    ]


def test_call_that_tries_again_in_its_time_beside_another(story: Story) -> None:
    """It waited for its own time."""
    story.history.connections += [0.31, 1.97, 2.001]
    story.call(0.3, 4.0)
    story.call(1.98, 4.0)
    story.sent("read", 0.31, 429, retry_after=1.0)
    story.sent("read", 1.97, 429, ended=2.0, connection=2, retry_after=3.0)
    story.sent("read", 2.002).connection = 3
    assert story.finds(obeys_retry_after(since=0.0, until=9.0)) == []


def test_new_call_after_a_refused_one_failed(story: Story) -> None:
    """It may send one request."""
    story.call(0.9, 1.1, "unavailable")
    refused(story, 1.0)
    story.call(2.0, 2.6)
    story.several("read", 2.1)
    asked = obeys_retry_after(since=0.0, until=9.0)
    assert story.finds(asked) == []
    story.several("read", 2.3)
    assert len(story.finds(asked)) == 1, "the second request of a call is the client's"


def test_a_new_call_may_not_ask_within_the_time_to_wait(story: Story) -> None:
    """The earlier call gave a stale value."""
    story.call(0.9, 1.1, "stale")
    refused(story, 1.0)
    story.call(2.0, 2.2, "stale")
    story.several("read", 2.1)
    assert len(story.finds(obeys_retry_after(since=0.0, until=9.0))) == 1


@pytest.mark.parametrize("kind", ["login", "renew", "credential"])
def test_impatience_in_the_background(
    story: Story, kind: Literal["login", "renew", "credential"]
) -> None:
    """A failed call does not excuse it."""
    story.call(0.9, 1.1, "unavailable")
    story.sent(kind, 1.0, 503, retry_after=3.0)
    story.several(kind, 2.0)
    asked = obeys_retry_after(since=0.0, until=9.0, kind=kind)
    assert len(story.finds(asked)) == 1


def test_nothing_to_obey(story: Story) -> None:
    """There is no time to wait."""
    refused(story, 1.0, None)
    refused(story, 1.05, 0.0)
    story.several("read", 1.2)
    assert story.finds(obeys_retry_after(since=0.0, until=9.0, may_be_empty=True)) == []
    assert story.finds(obeys_retry_after(since=0.0, until=9.0)) == [
        "nothing shows it: there was no 429 with a time to wait between +0.00 and +9.00 s"
    ]


# Denials


DENIED = "/v1/ecommerce/data/ai/openai"


def denied(story: Story, *moments: float) -> None:
    """Add calls for a denied path, each with a read and a lookup."""
    for at in moments:
        story.call(at, at + 0.1, "denied", path="ai/openai")
        story.sent("read", at, 403, path=DENIED)
        story.sent("lookup", at + 0.01)


def test_denial_that_costs_little(story: Story) -> None:
    """A lookup and a repetition for each read, and one login, are granted."""
    denied(story, 1.0, 2.0)
    for at in (1.05, 2.05):
        story.sent("read", at, 403, path=DENIED)
        story.sent("capabilities", at)
    story.several("login", 1.04)
    assert story.finds(a_denial_costs_little(since=0.0, path="ai/openai")) == []
    assert story.finds(a_denial_costs_little(since=0.0)) == []


def test_whole_reads_may_be_denied_too(story: Story) -> None:
    story.call(1.0, 1.1, "denied", verb="read_all", path="ai/openai")
    for at in (1.01, 1.02, 1.03):
        story.sent("read", at, 403, path=DENIED)
    assert story.finds(a_denial_costs_little(since=0.0, path="ai/openai")) == []


def test_denied_request_for_a_credential(story: Story) -> None:
    where = "database/creds/app"
    for at in (1.0, 2.0):
        story.call(at, at + 0.1, "denied", verb="lease", path=where)
        for again in (0.0, 0.05):
            story.sent("credential", at + again, 403, path=where)
        story.sent("lookup", at + 0.01)
    story.several("login", 1.04)
    oracle = a_denial_costs_little(since=0.0, path=where, kind="credential")
    assert story.finds(oracle) == []
    for at in (1.06, 2.06):
        story.sent("credential", at, 403, path=where)
    assert story.finds(oracle) == [
        (
            "6 requests for 6 denied requests of 2 calls, 5 are allowed "
            "(+1.00, +1.05, +2.00, +2.05, +1.06, +2.06)"
        )
    ]


def test_looks_at_a_pace_of_its_own(story: Story) -> None:
    """One of them may be in a call."""
    denied(story, 1.0, 2.0)
    story.several("lookup", 0.5, 1.5, 2.02, 2.5, 3.5)
    assert story.finds(a_denial_costs_little(since=0.0, until=4.0)) == []
    story.several("lookup", 3.7)
    [seen] = story.finds(a_denial_costs_little(since=0.0, until=4.0))
    assert seen.startswith("8 looks at the token for 2 denied reads of 2 calls, 7 are allowed")


def test_one_request_of_its_own_pace_in_a_call(story: Story) -> None:
    """The pace is slow."""
    denied(story, 1.0)
    story.sent("read", 1.02, 403, path=DENIED)
    story.several("lookup", 1.03, 1.05)
    story.sent("read", 1.06, 403, path=DENIED)
    assert story.finds(a_denial_costs_little(since=0.0, until=20.0, path="ai/openai")) == []


def test_denied_metadata_and_reads_are_repeated(story: Story) -> None:
    """Each may be once in a call."""
    metadata = DENIED.replace("data", "metadata")
    for at in (1.0, 2.0):
        story.call(at, at + 0.1, "denied", path="ai/openai")
        for after in (0.0, 0.02):
            story.sent("metadata", at + after, 403, path=metadata)
            story.sent("read", at + after + 0.01, 403, path=DENIED)
    assert story.finds(a_denial_costs_little(since=0.0, path="ai/openai")) == []
    for after in (0.04, 0.05):
        story.sent("metadata", 2.0 + after, 403, path=metadata)
    assert story.finds(a_denial_costs_little(since=0.0, path="ai/openai")) == [
        (
            "6 metadata reads for 10 denied reads of 2 calls, 5 are allowed "
            "(+1.00, +1.02, +2.00, +2.02, +2.04, +2.05)"
        )
    ]


def test_looks_where_mounts_are_asked_for_first(story: Story) -> None:
    for at in (1.0, 2.0, 3.0):
        story.call(at, at + 0.1, "missing", path="ai/openai")
        story.sent("status", at, 403, path="sys/internal/ui/mounts/ecommerce")
        story.sent("lookup", at + 0.01)
    assert story.finds(a_denial_costs_little(since=0.0, may_be_empty=True)) == []
    story.several("lookup", 3.02, 3.03)
    assert len(story.finds(a_denial_costs_little(since=0.0, may_be_empty=True))) == 1


def test_denied_metadata(story: Story) -> None:
    """It counts like a denied read."""
    for at in (1.0, 2.0):
        story.call(at, at + 0.1, "denied", path="ai/openai")
        story.sent("metadata", at, 403, path=DENIED.replace("data", "metadata"))
        story.sent("lookup", at + 0.01)
    story.several("metadata", 3.0, 3.1, 3.2)
    assert story.finds(a_denial_costs_little(since=0.0, path="ai/openai")) == []


def test_nothing_denied(story: Story) -> None:
    story.several("read", 1.0)
    assert story.finds(a_denial_costs_little(since=0.0, until=2.0)) == [
        "nothing shows it: there was no denied read between +0.00 and +2.00 s"
    ]
    assert story.finds(a_denial_costs_little(since=0.0, until=2.0, may_be_empty=True)) == []


# Namespaces


def test_what_is_asked_in_a_namespace(story: Story) -> None:
    """Only questions about the server have none."""
    for path in ("sys/health", "sys/seal-status", "sys/leader", "sys/init"):
        story.sent("status", 1.0, path=path)
    story.sent("read", 2.0, path="ecommerce/data/x").namespace = "shop"
    assert story.finds(names_its_namespace("shop")) == []
    story.sent("status", 3.0, path="sys/internal/ui/mounts")
    assert story.finds(names_its_namespace("shop")) == [
        "a status named none (GET sys/internal/ui/mounts)"
    ]


def test_the_last_request_names_its_namespace_too() -> None:
    """It is the revocation at the client's end."""
    assert isinstance(names_its_namespace("shop"), ToTheEnd)
