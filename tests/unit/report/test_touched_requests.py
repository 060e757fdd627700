"""Which faults touched which requests, according to the journals of runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.report.conftest import Record
from tests.unit.scenario.conftest import Story
from vault_harness.errors import SettingsError
from vault_harness.judge.faults import NetworkFaults
from vault_harness.judge.faults.http import HttpFaults
from vault_harness.judge.report.events import (
    AWAY,
    CHANGED,
    CONNECTION,
    CREDENTIAL,
    CUT,
    DEAD,
    DELETED,
    DENIED,
    EXCHANGED,
    FAILED,
    FIRST_LOGIN,
    FOREIGN_NO,
    FULL,
    FULL_UNTIL,
    GATEWAY,
    GOODBYE,
    HANDSHAKE,
    KEPT,
    LAGS,
    LATE,
    LEASE_END,
    LEASE_RENEWAL,
    LOGIN,
    LOST,
    MISSING,
    MOVED,
    NO_REQUEST,
    PAGE,
    READ,
    REDIRECT,
    REFUSED,
    RENEW,
    REVOKE,
    SHORTER,
    SILENT,
    STOPPED,
    UNWRAP,
    WAYS,
    WRITE,
    WRONG,
)
from vault_harness.judge.report.touched import (
    RunTouches,
    Table,
    asked_in,
    load_table,
    main,
    measured,
    run_of,
    touches_of,
    written,
)
from vault_harness.recorder.fault import Fault, Interference, Signature
from vault_harness.recorder.observations import Handshake, Touch

Maker = Callable[..., Record]


class Way:
    """A recorder that only keeps its interferences."""

    def __init__(self) -> None:
        self.acting: list[Interference] = []

    @contextmanager
    def interfere(self, one: Interference) -> Iterator[None]:
        self.acting.append(one)
        yield


@pytest.fixture
def http(story: Story) -> HttpFaults:
    return HttpFaults(Way(), story.history)


def fault(story: Story, name: str, began: float, ended: float, **detail: object) -> Fault:
    """Note a fault by its name; a journal has no more than that."""
    made = story.history.begin_fault(name, Signature(), detail)
    made.began, made.ended = began, ended
    return made


def signed_in(story: Story, at: float = 1.0, ttl: float = 20.0) -> None:
    """Add a start and its login."""
    story.call(at - 0.1, verb="start").ended = at - 0.05
    story.sent("login", at, token="token-1", ttl=ttl)


@pytest.mark.parametrize(
    ("status", "said", "what"),
    [
        (503, {}, AWAY),
        (500, {}, FAILED),
        (501, {}, FAILED),
        (502, {"by": "stub"}, GATEWAY),
        (504, {"by": "stub"}, GATEWAY),
        (400, {}, WRONG),
        (413, {}, WRONG),
        (404, {}, MISSING),
        (404, {"by": "stub"}, FOREIGN_NO),
        (403, {"by": "stub"}, FOREIGN_NO),
        (307, {"by": "stub"}, REDIRECT),
        (412, {"by": "stub"}, LAGS),
        (429, {}, FULL),
        (429, {"retry_after": 2.0}, FULL_UNTIL),
    ],
)
def test_statuses(
    story: Story, record: Maker, status: int, said: dict[str, Any], what: str
) -> None:
    """Vault answered, or a stub in its place."""
    story.sent("write", 5.0, status, **said)
    assert touches_of(record()) == {(WRITE, what)}


def test_good_answers_meet_nothing(story: Story, record: Maker) -> None:
    """Nor does a stub's good answer."""
    signed_in(story)
    story.sent("read", 2.0)
    story.sent("credential", 3.0, by="stub").interference = "stub"
    assert touches_of(record()) == set()


@pytest.mark.parametrize(
    ("errors", "what"),
    [
        (("permission denied",), DEAD),
        (("1 error occurred:\n\t* permission denied\n\n",), DENIED),
        (("2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n",), DEAD),
    ],
)
def test_two_kinds_of_403(story: Story, record: Maker, errors: tuple[str, ...], what: str) -> None:
    """The errors tell a dead token from a policy."""
    story.sent("read", 5.0, 403).errors = errors
    assert touches_of(record()) == {(READ, what)}


def test_login_that_is_denied(story: Story, record: Maker) -> None:
    """A login carries no token, so it is never called a dead token."""
    signed_in(story)
    story.sent("login", 5.0, 403).errors = ("permission denied",)
    assert touches_of(record()) == {(LOGIN, DENIED)}


def test_logins(story: Story, record: Maker) -> None:
    """It is a first login until the client has heard of a good one."""
    story.call(0.9, 0.95, verb="start")
    story.sent("login", 1.0, 500)
    story.sent("login", 1.5, token="token-1", ttl=20.0, closed="server")
    story.sent("login", 1.6, 429)
    story.sent("login", 1.7, by="stub")
    story.sent("login", 1.8, 412)
    story.sent("login", 2.0, token="token-2", ttl=20.0)
    story.sent("login", 3.0, 503)
    story.call(5.0, verb="start")
    story.sent("login", 5.5, 502)
    first = {(FIRST_LOGIN, what) for what in (FAILED, FULL, LAGS, GATEWAY)}
    assert touches_of(record()) == {*first, (LOGIN, AWAY)}
    assert asked_in(record()) == {FIRST_LOGIN, LOGIN}


def test_leases(story: Story, record: Maker) -> None:
    """The paths tell."""
    story.sent("lease", 2.0, 503, path="sys/leases/renew")
    story.sent("lease", 3.0, 500, path="sys/leases/revoke")
    story.sent("lease", 4.0, 500, path="sys/leases/lookup")
    assert touches_of(record()) == {(LEASE_RENEWAL, AWAY), (LEASE_END, FAILED)}


def test_faults_of_requests_are_known_by_their_names(
    story: Story, record: Maker, http: HttpFaults
) -> None:
    """A journal has no other trace of them."""
    ways: Any = http._relay
    times = count(2)
    verbs: list[tuple[Any, dict[str, Any]]] = [
        (http.delay("renew", by=3.0), {"ended": 3.0}),
        (http.lose_answer("write"), {"closed": "server"}),
        (http.lose_answer("write", status=504), {"status": 504}),
        (http.lose_answer("lease", by=2.0), {"closed": "server", "ended": 2.0}),
        (http.say_goodbye("read"), {}),
        (http.fail("login", status=200, body=b"<html>"), {"by": "stub"}),
    ]
    for verb, answer in verbs:
        with verb:
            acting = ways.acting[-1]
        at, status = next(times) * 10.0, answer.pop("status", 200)
        kind: Any = next(iter(acting.choice.kinds))
        ended = at + answer.pop("ended", 0.01)
        sent = story.sent(kind, at, status, ended=ended, path="sys/leases/renew", **answer)
        sent.interference = acting.name
    assert touches_of(record()) == {
        (RENEW, LATE),
        (WRITE, LOST),
        (WRITE, GATEWAY),
        (LEASE_RENEWAL, LOST),
        (LEASE_RENEWAL, SILENT),
        (READ, GOODBYE),
        (KEPT, GOODBYE),
        (FIRST_LOGIN, PAGE),
    }


@pytest.mark.parametrize(
    ("name", "what"),
    [("server paused", SILENT), ("server killed", CUT), ("answers truncated", CUT), ("?", None)],
)
def test_request_without_an_answer(
    story: Story, record: Maker, name: str, what: str | None
) -> None:
    fault(story, name, 10.0, 20.0)
    story.sent("renew", 11.0, None, ended=13.0, closed="client")
    story.sent("revoke", 30.0, None, ended=31.0, closed="client")
    assert touches_of(record()) == ({(RENEW, what)} if what else set())


def test_network_faults_are_known_by_their_names(story: Story) -> None:
    @contextmanager
    def toxic(*_: object, **__: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(name="a-toxic")

    proxy: Any = SimpleNamespace(disable=lambda: None, enable=lambda: None, toxic=toxic)
    network = NetworkFaults(proxy, story.history)
    for verb in (
        network.down(),
        network.black_hole(),
        network.stalled(),
        network.drip(pause=0.4),
        network.slow(latency=1.0),
        network.narrow(rate=1),
        network.truncated(after=100),
        network.resets(),
    ):
        with verb as made:
            assert made.name in WAYS


def connected(story: Story, *opened: float, toxic: str = "toxic") -> None:
    """Add connections, and a toxic on the first of them."""
    for at in opened:
        story.history.note_connection()
        story.history.connections[-1] = at
    story.history.touches.append(Touch(toxic, opened[0] - 0.01, None))


def test_a_toxic_on_the_answer_touches_the_request(story: Story, record: Maker) -> None:
    """The recorder saw the answer."""
    connected(story, 1.0, 2.0)
    fault(story, "black hole", 10.0, 20.0, toxic="toxic", stream="downstream")
    story.sent("renew", 11.0, connection=1)
    story.sent("write", 11.0, connection=2)
    story.sent("read", 21.0, connection=1)
    assert touches_of(record()) == {(RENEW, SILENT)}


def test_a_toxic_on_the_request_delays_or_hides_it(story: Story, record: Maker) -> None:
    """A slow toxic delays it; a black hole hides it from the recorder."""
    connected(story, 1.0)
    story.history.touches.append(Touch("slow", 1.0, None))
    fault(story, "network slow", 10.0, 20.0, toxic="slow", stream="upstream")
    fault(story, "black hole", 10.0, 20.0, toxic="toxic", stream="upstream")
    story.sent("renew", 11.0, connection=1)
    story.sent("write", 21.0, connection=1)
    assert touches_of(record()) == {(RENEW, LATE)}


def test_toxic_that_cuts(story: Story, record: Maker) -> None:
    """It touches only the last answer of its connection."""
    connected(story, 11.0)
    fault(story, "answers truncated", 10.0, 20.0, toxic="toxic", stream="downstream")
    story.sent("renew", 12.0, connection=1)
    story.sent("write", 13.0, connection=1)
    assert touches_of(record()) == {(WRITE, CUT), (CONNECTION, CUT)}


def test_a_refused_connection_is_known_by_failed_calls(story: Story, record: Maker) -> None:
    """The calls failed meanwhile."""
    signed_in(story)
    fault(story, "network down", 2.0, 4.0)
    story.call(1.5)
    story.call(2.5, outcome="unavailable")
    story.call(3.0, outcome="stale", verb="read_cached")
    story.call(3.5, outcome="unavailable", verb="write")
    story.call(3.6, outcome="unavailable", verb="lease")
    for call in story.history.operations:
        call.instance = None if call.verb == "start" else 1
    assert touches_of(record()) == {
        (READ, REFUSED),
        (WRITE, REFUSED),
        (CREDENTIAL, REFUSED),
        (CONNECTION, REFUSED),
    }


@pytest.mark.parametrize(
    ("mark", "what"), [("secret-id-1 delivered", FIRST_LOGIN), ("wrapping-1 delivered", UNWRAP)]
)
def test_first_call_needs_a_token_first(story: Story, record: Maker, mark: str, what: str) -> None:
    """A read that fails before any login counts as a failed login or unwrapping."""
    story.history.mark(mark).at = 0.5
    start = story.call(1.0, verb="start")
    fault(story, "network down", 0.8, 4.0)
    story.call(2.0, outcome="unavailable").instance = start.number
    assert touches_of(record()) == {(what, REFUSED), (CONNECTION, REFUSED)}


@pytest.mark.parametrize("outcome", ["unavailable", "error", "hung", "stale"])
def test_a_stale_value_counts_as_unavailable(story: Story, record: Maker, outcome: Any) -> None:
    """A denial does not."""
    signed_in(story)
    fault(story, "127.0.0.2 gone", 2.0, 4.0)
    story.call(1.0, outcome=outcome)
    story.call(2.5, outcome="denied")
    story.call(4.5, outcome=outcome)
    assert touches_of(record()) == set()
    story.call(3.0, outcome=outcome)
    assert touches_of(record()) == {(READ, REFUSED), (CONNECTION, REFUSED)}


def test_call_that_goes_on_beside_cuts(story: Story, record: Maker) -> None:
    """It was not necessarily cut."""
    signed_in(story)
    fault(story, "connections reset", 2.0, 4.0)
    story.call(2.5, 3.5)
    assert touches_of(record()) == set()


@pytest.mark.parametrize(
    ("name", "way", "carrier"),
    [
        ("nobody takes connections", SILENT, CONNECTION),
        ("idle connections dead", SILENT, KEPT),
        ("connections ended", CUT, KEPT),
    ],
)
def test_connections(story: Story, record: Maker, name: str, way: str, carrier: str) -> None:
    """They count only if a call needed them."""
    signed_in(story)
    fault(story, name, 2.0, 4.0)
    story.call(3.0, outcome="unavailable")
    assert touches_of(record()) == {(READ, way), (carrier, way)}


def test_handshake_that_is_silent(story: Story, record: Maker) -> None:
    """It is a new connection over TLS in a black hole."""
    story.history.touches.append(Touch("toxic", 3.0, None))
    fault(story, "black hole", 2.0, 4.0, toxic="toxic", stream="upstream")
    assert touches_of(record()) == set()
    assert touches_of({**record(), "wire": "tls"}) == {(HANDSHAKE, SILENT)}


def test_call_that_is_held_up(story: Story, record: Maker) -> None:
    """A tiny delay does not count."""
    signed_in(story)
    connected(story, 0.9)
    fault(story, "black hole", 2.0, 4.0, toxic="toxic", stream="upstream")
    story.call(2.5, 3.5)
    story.call(3.7, 3.8, verb="write")
    assert touches_of(record()) == {(READ, SILENT)}


@pytest.mark.parametrize(
    ("began", "ended", "due"), [(11.0, 14.5, True), (11.0, 12.5, False), (13.5, 14.5, False)]
)
def test_renewal_that_was_due(
    story: Story, record: Maker, began: float, ended: float, due: bool
) -> None:
    """Earlier lives suggest the time."""
    signed_in(story, ttl=9.0)
    story.sent("renew", 7.0, token="token-1", ttl=9.0)
    fault(story, "network down", began, ended)
    story.sent("renew", 16.5, token="token-1", ttl=9.0)
    found = {(RENEW, REFUSED), (CONNECTION, REFUSED)} if due else set[tuple[str, str]]()
    assert touches_of(record()) == found


def test_renewal_of_a_lease_that_was_due(story: Story, record: Maker) -> None:
    """Nobody saw it vanish."""
    story.sent("credential", 1.0, credential="credential-1", ttl=9.0)
    story.sent("lease", 7.0, credential="credential-1", ttl=9.0, path="sys/leases/renew")
    fault(story, "black hole", 11.0, 14.5, toxic="toxic", stream="upstream")
    story.sent("lease", 16.5, credential="credential-1", ttl=9.0, path="sys/leases/renew")
    connected(story, 0.9)
    assert touches_of(record()) == {(LEASE_RENEWAL, SILENT)}


def test_login_after_the_last_life(story: Story, record: Maker) -> None:
    """It counts as a failed login."""
    signed_in(story, ttl=9.0)
    fault(story, "network down", 2.0, 12.0)
    story.call(9.0, outcome="unavailable")
    assert (LOGIN, REFUSED) not in touches_of(record())
    story.call(11.0, outcome="unavailable")
    assert (LOGIN, REFUSED) in touches_of(record())


def test_close_in_an_outage(story: Story, record: Maker) -> None:
    """It counts as a failed revocation."""
    signed_in(story)
    fault(story, "network down", 2.0, 4.0)
    story.call(3.9, 4.1, verb="close")
    assert touches_of(record()) == set()
    story.call(2.5, 2.6, verb="close")
    assert touches_of(record()) == {(REVOKE, REFUSED), (CONNECTION, REFUSED)}


def test_shorter_life(story: Story, record: Maker) -> None:
    """One second less is rounding."""
    signed_in(story, ttl=20.0)
    story.sent("renew", 5.0, token="token-1", ttl=19.0)
    assert touches_of(record()) == set()
    story.sent("renew", 8.0, token="token-1", ttl=4.0)
    story.sent("credential", 9.0, token="token-1", credential="credential-1", ttl=10.0)
    story.sent(
        "lease", 10.0, path="sys/leases/renew", credential="credential-1", token="token-1", ttl=3.0
    )
    assert touches_of(record()) == {(RENEW, SHORTER), (LEASE_RENEWAL, SHORTER)}


def test_closing_act_is_no_part_of_it(story: Story, record: Maker) -> None:
    """All scenarios have it."""
    signed_in(story)
    story.history.mark("closing act").at = 5.0
    story.sent("read", 6.0, 404)
    story.put(6.0, "none (it is deleted)")
    assert touches_of(record()) == set()


def test_handshakes(story: Story, record: Maker) -> None:
    """A connection that broke off does not count."""
    story.history.handshakes.append(Handshake(2.0, 1, None, "ConnectionResetError"))
    assert touches_of(record()) == set()
    story.history.handshakes.append(Handshake(3.0, 2, None, "certificate verify failed"))
    assert touches_of(record()) == {(HANDSHAKE, REFUSED)}


def test_what_meets_no_request(story: Story, record: Maker) -> None:
    """They are a paused client and a changed secret."""
    for path in ("a", "b"):
        story.put(0.1, f"{path}:seeded", path=path)
        story.put(0.2, f"{path}:v0", path=path)
    story.history.mark("secret-id-1 delivered").at = 0.2
    signed_in(story)
    assert touches_of(record()) == set()
    fault(story, "client paused", 2.0, 3.0)
    story.put(4.0, "a:v1", path="a")
    story.put(5.0, "none (it is deleted)", path="b")
    story.history.mark("secret-id-2 delivered").at = 6.0
    story.history.mark("the name leads to 127.0.0.2 instead of 127.0.0.1").at = 7.0
    met = {(NO_REQUEST, what) for what in (STOPPED, CHANGED, DELETED, EXCHANGED, MOVED)}
    assert touches_of(record()) == met


# Several runs


def run(subject: str, **scenarios: object) -> RunTouches:
    """Return a run whose scenarios show these letters; None means that it did not pass."""
    shown = {
        name.replace("_", "-"): None
        if what is None
        else frozenset((READ, one) for one in str(what))
        for name, what in scenarios.items()
    }
    return RunTouches(subject, frozenset({READ}), shown)


def letters(table: Table) -> dict[str, str]:
    return {
        name: "".join(sorted(what for _, what in pairs)) for name, pairs in table.scenarios.items()
    }


def test_runs_of_one_client() -> None:
    """Only what all of its runs show counts."""
    table = measured([run("mine", TOK_01="ab"), run("mine", TOK_01="bc")], Table())
    assert letters(table) == {"TOK-01": "b"}


def test_several_clients() -> None:
    """What one of them shows in all runs counts."""
    runs = [run("mine", TOK_01="a"), run("yours", TOK_01="b"), run("yours", TOK_01="bc")]
    assert letters(measured(runs, Table())) == {"TOK-01": "ab"}


def test_a_scenario_without_news_stays() -> None:
    before = Table(frozenset({WRITE}), {"TOK-02": frozenset({(WRITE, "x")}), "TOK-01": frozenset()})
    runs = [run("mine", TOK_01="a", TOK_02=None)]
    table = measured(runs, before)
    assert letters(table) == {"TOK-01": "a", "TOK-02": "x"}
    assert table.asked == {READ, WRITE}


@pytest.mark.parametrize(
    "more", [{"word": "fail"}, {"word": "skipped"}, {"word": "pass", "runs": [{}, {}]}]
)
def test_a_run_that_did_not_simply_pass_shows_nothing(
    story: Story, record: Maker, more: dict[str, Any]
) -> None:
    """It failed, was skipped or had several tries."""
    story.sent("read", 5.0, 503)
    found = run_of({"subject": "mine", "scenarios": [{**record(), **more}]})
    assert found.scenarios == ({} if more["word"] == "skipped" else {"TOK-11": None})


def written_journal(folder: Path, *records: Record) -> Path:
    head = {"schema_version": 2, "suite_version": "0.1.0", "complete": True, "summary": ""}
    journal = {**head, "subject": "mine", "engine": "process", "scenarios": records}
    path = folder / "journal.json"
    path.write_text(json.dumps(journal))
    return path


def test_command(story: Story, record: Maker, tmp_path: Path) -> None:
    """Equal journals make equal files."""
    story.sent("read", 5.0, 503)
    journal, file = str(written_journal(tmp_path, record())), tmp_path / "touched.json"
    before = Table(frozenset({WRITE}), {"KV-01": frozenset({(WRITE, AWAY)})})
    file.write_text(written(before))
    assert main([journal, journal, str(file)]) == 0
    once = file.read_text()
    assert load_table(file).scenarios == {
        "KV-01": {(WRITE, AWAY)},
        "TOK-11": {(READ, AWAY)},
    }
    assert main([journal, str(file)]) == 0
    assert file.read_text() == once


def test_table_that_cannot_be_read(story: Story, record: Maker, tmp_path: Path) -> None:
    """The command replaces it."""
    story.sent("read", 5.0, 503)
    journal, file = written_journal(tmp_path, record()), tmp_path / "touched.json"
    for broken in ("[]", "{}", '{"asked": [], "scenarios": {"TOK-01": ["read"]}}'):
        file.write_text(broken)
        with pytest.raises(SettingsError):
            load_table(file)
    assert main([str(journal), str(file)]) == 0
    assert set(load_table(file).scenarios) == {"TOK-11"}


@pytest.mark.parametrize("spoilt", [{"exchanges": [{}]}, {"faults": [{"began": 1.0}]}])
def test_journal_whose_events_are_none(
    record: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoilt: dict[str, Any]
) -> None:
    """The table stays."""
    journal, file = written_journal(tmp_path, {**record(), **spoilt}), tmp_path / "touched.json"
    file.write_text(written(Table()))
    assert main([str(journal), str(file)]) != 0
    assert "an event is not of the form that a run leaves" in capsys.readouterr().err
    assert load_table(file) == Table()
