"""The client's process: what it reveals, and how it is frozen, forked and ended."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Literal

import pytest

from vault_harness.errors import SubjectError
from vault_harness.judge.driver import ReadVerb, beside, reading
from vault_harness.judge.faults import process_tree
from vault_harness.judge.faults.http import (
    HTML,
    INTERNAL_ERROR,
    JSON,
    NOTICE,
    QUOTA,
    SIGN_IN,
    a_page,
)
from vault_harness.judge.helpers.calls import (
    all_read_verbs,
    has_its_files,
    own_path,
    secrets_by_verb,
)
from vault_harness.judge.helpers.database import LOGS_IN_EVERY, first_credential, pool
from vault_harness.judge.helpers.instead import vault_gone
from vault_harness.judge.helpers.lives import let_go, sleeps
from vault_harness.judge.helpers.starts import (
    ENDS_WITHIN,
    LEDGER,
    allow_writes,
    canary,
    ends_cleanly,
    turns,
)
from vault_harness.judge.helpers.traces import SPARE, footprint_at_rest, left_behind
from vault_harness.judge.lab import KEY, PATH, Lab
from vault_harness.judge.oracles import (
    LOGS_IN_INSTEAD,
    accepted_again,
    at_most,
    came_through,
    health_is_answered,
    kept_unasked,
    last_grant,
    logins_at_most,
    never_renews,
    no_failed_read,
    no_refused_use,
    none_of,
    obeys_retry_after,
    renewed_or_replaced,
    replaced_in_turn,
    requests_at_most,
)
from vault_harness.judge.subjects import OperationFailed
from vault_harness.judge.verdict import Finding, NotClaimed
from vault_harness.local.vault.approle import SecretId
from vault_harness.recorder.fault import Fault, Stub
from vault_harness.recorder.observations import Exchange

WORKERS = 4


@pytest.mark.scenario("PRC-01")
def test_forked_workers(lab: Lab) -> None:
    """Each of four forked workers reads with a token and connections of its own, and ends alone."""
    allow_writes(lab, "workers/*")  # also lets the role read them
    paths = [f"workers/{number}" for number in range(1, WORKERS + 1)]
    right = {path: lab.put("v1", path=path, key="KEY") for path in paths}
    client = lab.start()
    parents, lives, every = lab.tokens.accessor(), 1.3 * lab.ttl, 0.25
    pid = client.subject.pid
    assert pid is not None
    alone, since = _processes(pid), lab.history.now()
    with lab.reading(every=every), ThreadPoolExecutor(WORKERS) as pool:
        # A read of the parent is under way at each fork. A child has none of the parent's other
        # threads to release its lock.
        with lab.http.delay("read", path=f"*/data/{PATH}", by=2 * every) as busy:
            busy.optional = True  # a client may answer from memory
            lab.until(lambda: _is_reading(lab, since=busy.began), within=lab.deadline)
            works = [
                pool.submit(client.fork, one, "KEY", seconds=lives, every=every) for one in paths
            ]
            lab.until(lambda: _processes(pid) >= alone + WORKERS, within=5.0)
        most = _processes(pid) - alone
        children = [work.result() for work in works]
        lab.watch(1.0)
    until = lab.history.now()
    lab.require(
        f"{WORKERS} processes forked from the client's",
        lambda _: f"{most} were there at once" if most >= WORKERS else "",
    )
    lab.judge(
        none_of(
            "each worker is given its own secret",
            {
                f"{child.operation.path} gave {value}": child.operation.began
                for child in children
                for value in child.values
                if value != right[child.operation.path]
            },
            harm=True,
        ),
        none_of(
            "no read of a worker fails",
            {f: child.operation.began for child in children for f in child.failures},
        ),
        none_of(
            "each worker reads to its end",
            {
                f"{child.operation.path} ended {child.operation.outcome} after {len(child.values)} "
                f"values: {child.operation.message}": child.operation.ended or until
                for child in children
                if child.operation.failed or len(child.values) < lives / every / 2
            },
        ),
        none_of("each process has connections of its own", _shared(lab, {PATH, *paths}, since)),
        none_of(
            "a worker that ends leaves its parent's token alone",
            set() if until > _end_of(lab, parents) or lab.tokens.lives(parents) else {"it is dead"},
        ),
        logins_at_most(WORKERS, since=since, until=until),
        none_of(
            "each process renews its token, or replaces it",
            # All tokens that would have ended a second ago count, the workers' first ones included.
            let_go(lab.history, since=until - lab.ttl - 1.0, until=until),
        ),
        no_failed_read(since=since, path=PATH),
    )


def _is_reading(lab: Lab, *, since: float) -> bool:
    return any(o.ended is None for o in lab.history.calls("read", since=since))


def _end_of(lab: Lab, accessor: str) -> float:
    granted = lab.history.find("login", "renew", where=lambda e: e.good and e.accessor == accessor)
    return max(((e.ended or e.began) + (e.ttl or 0.0) for e in granted), default=float("inf"))


def _processes(pid: int) -> int:
    try:
        return len(process_tree(pid))
    except ProcessLookupError:
        return 0


def _shared(lab: Lab, paths: set[str], since: float) -> dict[str, float]:
    carried: dict[int, dict[str, float]] = {}
    for read in lab.history.find("read", since=since):
        path = read.path.partition("/data/")[2]
        if path in paths:
            carried.setdefault(read.connection, {}).setdefault(path, read.began)
    return {
        f"connection {number} carried reads of {', '.join(sorted(several))}": max(several.values())
        for number, several in carried.items()
        if len(several) > 1
    }


@pytest.mark.scenario("PRC-02")
def test_unreadable_answer_ends_no_renewing(lab: Lab) -> None:
    """A renewal answer that cannot be parsed does not end the renewing, and costs no read."""
    lab.start()
    with lab.reading(every=0.5):
        met = [answered for one in UNREADABLE if (answered := _unreadable_renewal(lab, *one))]
    if never_renews(lab.history):
        raise NotClaimed(LOGS_IN_INSTEAD)
    lab.require("a renewal with an answer that cannot be read", lambda _: str(len(met) or ""))
    lab.judge(
        # Some clients log in when a renewal fails; TOK-16 judges that.
        logins_at_most(1, since=lab.steady_since),
        no_failed_read(),
    )


UNREADABLE = (
    (b'{"auth": null}', JSON),  # a client that looks up the token's life finds none
    (SIGN_IN, HTML),
    (SIGN_IN, {**HTML, "Content-Encoding": "gzip"}),  # fails in the HTTP library, before any parser
)

SOON_ENOUGH = 0.75
"""Part of a life after which a failed renewal may leave no time for another.

The watchers of Vault's own Go library renew at 0.70 to 0.73.
"""


def _unreadable_renewal(lab: Lab, body: bytes, headers: Mapping[str, str]) -> Exchange | None:
    """Answer a renewal with `body`, and wait until the token is kept or ends.

    Return that renewal; None if none came early enough.
    """
    lab.watch(0.2 * lab.ttl)  # some clients renew at once to learn the TTL
    history = lab.history
    granted = last_grant(history, until=history.now())
    by, ends = granted + SOON_ENOUGH * lab.ttl, granted + lab.ttl
    with lab.http.fail("renew", status=200, body=body, headers=headers, first=1) as answered:
        answered.optional = True
        lab.until(lambda: bool(answered.touched), within=max(0.0, by - history.now()))
    stubbed = history.find("renew", since=answered.began, where=lambda e: e.by == "stub")
    lab.until(
        lambda: bool(history.find("renew", "login", since=answered.began, where=came_through)),
        within=max(0.0, ends - history.now()),
    )
    if stubbed:
        lab.judge_later(renewed_or_replaced(since=stubbed[0].began, before=ends))
        return stubbed[0]
    return None


@pytest.mark.scenario("PRC-04")
def test_no_secret_is_said(lab: Lab) -> None:
    """Cut answers, denials, a seal and outages reveal no secret in logs, errors or files."""
    of_the_home = lab.give_own_folders()
    started = time.time() - 1.0  # a file's time may lie slightly behind the clock
    lab.put("v1", value=f"canary-v1-{secrets.token_hex(55)}")  # 120 bytes, from byte 340 or so on
    _cut_a_login(lab)
    client = lab.start()

    with ExitStack() as callers:
        for verb in all_read_verbs(lab):
            callers.enter_context(reading(client, every=0.25, verb=verb))
        client.read("ai/openai", "OPENAI_API_KEY")
        _write_in_vain(lab)
        # In its headers, and in the second half of the value, however long the headers are.
        for after in (150, 400, 430, 460):
            with lab.network.truncated(after=after) as fault:
                lab.hold(fault, 0.8)
            lab.until_good_read(since=fault.end, within=lab.recovery_after(fault))
        with lab.vault.sealed() as fault:
            _write_in_vain(lab)
            lab.hold(fault, 1.0)
        lab.until_good_read(since=fault.end, within=lab.recovery_after(fault))
        good = lab.secret_id
        wrong = secrets.token_hex(18)
        lab.secrets.add("secret-id", wrong, "wrong secret-id")
        lab.deliver(SecretId(secret_id=wrong, accessor=""))
        with lab.vault.token_revoked(lab.tokens.accessor()) as fault:
            lab.hold(fault, 1.5)
        lab.deliver(good)
        lab.until_good_read(since=fault.end, within=lab.recovery_after(fault))
        with lab.network.down() as fault:
            _write_in_vain(lab)
            lab.hold(fault, 0.8)
        lab.until_good_read(since=fault.end, within=lab.recovery_after(fault))
    told = lab.files_for_all(since=started)
    # Vault needs no token for a login (hvac sends it) or a status (bao proxy does).
    needless = ("login", "status")
    used = lab.history.find(where=lambda e: e.token == of_the_home and e.kind not in needless)
    lab.judge(
        none_of("nobody else can read a secret in its files", told, harm=True),
        none_of(
            "the token of the home folder is not used",
            {f"a {one.kind} of {one.path} has it": one.began for one in used},
            harm=True,
        ),
    )


def _cut_a_login(lab: Lab) -> None:
    """Start a client whose first login answer is cut, and end it again.

    A running client may log in only at its next renewal.
    """
    token = f"hvs.{secrets.token_hex(24)}"
    lab.secrets.add("token", token, "token of a login that is cut")
    cut = f'{{"lease_id": "", "auth": {{"client_token": "{token}", "accessor": "'
    with lab.http.fail("login", first=1, status=200, body=cut.encode()):
        if (client := lab.open()) is None:
            return  # a refusal to start is an answer too
        if (read := client.read()).failed and read.outcome not in ("hung", "died"):
            read.verb = "warm-up"  # a client need not be ready at once
        client.close(timeout=lab.deadline + 5.0)


def _write_in_vain(lab: Lab) -> None:
    stores = {"write": lab.client.write, "update": lab.client.update}
    tried = [store for word, store in stores.items() if lab.can(word)]
    with ThreadPoolExecutor(len(stores)) as callers:
        list(callers.map(lambda store: store("ai/openai", {"OPENAI_API_KEY": canary(lab)}), tried))


@pytest.mark.scenario("PRC-03")
def test_frozen_client_wakes_up(lab: Lab) -> None:
    """A client that was frozen past the end of its token and its lease recovers with one login."""
    lab.start()
    if lab.has_database:
        first_credential(lab)
    bound = 5.0
    fault = sleeps(lab, 1.5 * lab.ttl)
    woken = fault.end
    with ExitStack() as callers:
        if lab.has_database:
            callers.enter_context(pool(lab, every=LOGS_IN_EVERY, reports=False))
        callers.enter_context(lab.reading(every=0.5))
        lab.recovers(after=fault, within=bound)
        lab.logs_in_again(since=woken, within=bound)
        if lab.has_database:
            lab.until(
                lambda: any(use.accepted for use in lab.history.uses if use.began > woken),
                within=max(0.0, woken + bound + 0.5 - lab.history.now()),
            )
        lab.watch(1.5)
    calls = len(lab.history.calls("read", since=woken, until=woken + 1.0))
    # Two requests, one refused and one good, for each secret that the client keeps fresh, and for
    # its lease.
    kept = 2 * (kept_unasked(lab.history, fault.began) + lab.has_database)
    if lab.has_database:
        lab.judge_later(
            # A clock that went on shows that the credential has ended.
            no_refused_use(since=woken, may_be_empty=True),
            accepted_again(since=woken, within=bound),
        )
    lab.judge(
        logins_at_most(1, since=woken),
        requests_at_most(5 + calls + kept, since=woken, until=woken + 1.0),
    )


@pytest.mark.scenario("PRC-05")
def test_health_goes_red_and_green_again(lab: Lab) -> None:
    """Health says not well in a seal and an outage, and well before and after each."""
    lab.start()
    with lab.reading(every=0.5):
        since = lab.history.now()
        if not turns(lab, well=True, within=lab.recovery):  # a client may check only now and then
            lab.note(Finding(TRUTH, "it says not well in the steady state", since))
        # A signal that works only once would miss the second loss.
        for loss in (lab.vault.sealed(), vault_gone(lab)):
            if not _turns_red_and_green(lab, loss):
                break
    lab.judge(health_is_answered())


TRUTH = "health tells the truth"


def _turns_red_and_green(lab: Lab, loss: AbstractContextManager[Fault]) -> bool:
    red_bound = max(0.5 * lab.ttl, lab.refresh + lab.deadline)
    with loss as fault:
        red = turns(lab, well=False, within=red_bound)
        lab.hold(fault, 0.0)
    lab.recovers(after=fault)
    # A client that checks periodically may need as long for either answer.
    green_bound = max(lab.recovery_after(fault), red_bound)
    green = turns(lab, well=True, within=green_bound)
    if not red:
        text = f"it said well for {red_bound:g} s of {fault.name}"
        lab.note(Finding(TRUTH, text, fault.began))
    if not green:
        text = f"it said not well {green_bound:.3g} s after Vault answered again"
        lab.note(Finding(TRUTH, text, fault.end))
    return red and green


@pytest.mark.scenario("PRC-06")
def test_faults_of_all_kinds_leave_nothing_behind(lab: Lab) -> None:
    """Three rounds of many faults leave no more threads, files, connections or tokens than one."""
    allow_writes(lab, LEDGER)
    lab.start()
    answers = itertools.cycle(FOR_A_LOGIN)
    back = _round_of_faults(lab, next(answers))
    _write_again(lab)
    before = footprint_at_rest(lab)
    for _ in range(2):
        back = back and _round_of_faults(lab, next(answers))
    for _ in range(SPARE - 1):  # with the two rounds, one more than `SPARE`
        if back and (back := _lost_token(lab, next(answers))):
            _ask_for_what_is_not_there(lab)
            _write_again(lab)
    more = left_behind(lab, before)
    lab.judge(
        none_of("faults leave nothing behind", more),
        obeys_retry_after(since=0.0, until=lab.history.now(), kind="login", may_be_empty=True),
        at_most(
            1 + replaced_in_turn(lab.history),
            lab.tokens.alive(),
            "tokens alive",
        ),
    )


FOR_A_LOGIN = (
    Stub(status=500, body=INTERNAL_ERROR, headers=JSON),
    Stub(status=403, body=a_page(403), headers=HTML),
    Stub(status=429, body=QUOTA, headers={**JSON, "Retry-After": "1"}),
    Stub(status=404, body=NOTICE, headers=JSON),
    Stub(status=502, body=a_page(502), headers=HTML),
)
"""None says anything about the secret-id."""


def _round_of_faults(lab: Lab, answer: Stub) -> bool:
    """Cause each fault under reads; return whether the client has a token at the end."""
    for fails in (
        lab.vault.sealed,
        lab.network.down,
        lambda: lab.network.black_hole(closes_after=0.2),
        lambda: lab.network.truncated(after=150),
    ):
        with _called_with_all_verbs(lab):
            with fails() as fault:
                lab.hold(fault, 0.5)
            lab.recovers(after=fault)
    with _called_with_all_verbs(lab):
        return _lose_the_token(lab, 0.5, answer)


@contextmanager
def _called_with_all_verbs(lab: Lab) -> Iterator[None]:
    with ExitStack() as callers:
        callers.enter_context(lab.reading(every=0.3, callers=3))
        for verb, (path, key) in secrets_by_verb(lab).items():
            if verb != "read":
                callers.enter_context(reading(lab.client, every=0.3, verb=verb, path=path, key=key))
        if lab.can("health"):
            callers.enter_context(_probing(lab))
        yield


def _lost_token(lab: Lab, answer: Stub) -> bool:
    with lab.reading(every=0.2, callers=1):
        return _lose_the_token(lab, 0.0, answer)


def _lose_the_token(lab: Lab, seconds: float, answer: Stub) -> bool:
    """Revoke the token for at least `seconds`, and give `answer` to the next login.

    Return whether a good read came.
    """
    with (
        lab.http.fail(
            "login", first=1, status=answer.status, body=answer.body, headers=answer.headers
        ) as failing,
        lab.vault.token_revoked(lab.tokens.accessor()) as lost,
    ):
        failing.optional = True  # the client may have found the loss before
        lab.hold(lost, seconds)
        lab.until(lambda: bool(failing.touched), within=lab.reach)
    # This failure is too short to tell how long a client may rest.
    lab.recovers(after=lost, within=lab.recovery)
    return any(call.good for call in lab.history.calls("read", "read_cached", since=lost.end))


NO_SUCH_SECRET = "backend/no-such-secret"
"""Vault's answer has a body, which the client must read to its end."""


def _ask_for_what_is_not_there(lab: Lab) -> None:
    if has_its_files(lab):
        return
    for _ in range(2):
        for verb in all_read_verbs(lab):
            lab.client.ask(verb, own_path(lab, NO_SUCH_SECRET, verb), KEY)


def _write_again(lab: Lab) -> None:
    for _ in range(2):
        for word, store in (("write", lab.client.write), ("update", lab.client.update)):
            if lab.can(word):
                store(LEDGER, {"entry": canary(lab)})


@contextmanager
def _probing(lab: Lab) -> Iterator[None]:
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.3):
            lab.client.healthy()

    with beside(ask, name="probe", stop=over, patience=lab.client.patience):
        yield


Call = ReadVerb | Literal["write"]


@pytest.mark.scenario("PRC-07")
def test_end_while_a_call_hangs(lab: Lab) -> None:
    """A client that is ended while calls in each way hang ends in time, and no call outlasts it."""
    client = lab.start()
    if lab.leaves("file"):
        raise NotClaimed("its reads are looks into a file, which do not hang")
    key = lab.entry.spare_key

    def path_of(verb: ReadVerb) -> str:
        return own_path(lab, lab.entry.spare_path, verb)

    def call_in_vain(verb: Call) -> None:
        # Not recorded: a process that ends cannot tell how its last call ended.
        subject, patience = client.subject, lab.deadline + 6.0
        with contextlib.suppress(OperationFailed, SubjectError):
            if verb == "write":
                subject.write(LEDGER, {"entry": canary(lab)}, timeout=patience)
            elif verb == "read_all":
                subject.read_all(path_of(verb), timeout=patience)
            elif verb == "read_cached":
                subject.read_cached(path_of(verb), key, timeout=patience)
            else:
                subject.read(path_of(verb), key, timeout=patience)

    calls: list[Call] = list(all_read_verbs(lab))
    if lab.can("write"):
        calls.append("write")
    with lab.network.black_hole() as fault:
        hanging = {
            verb: threading.Thread(target=call_in_vain, args=(verb,), name=f"hanging {verb}")
            for verb in calls
        }
        for caller in hanging.values():
            caller.daemon = True
            caller.start()
        path = lab.entry.spare_path
        lab.history.wait_for(lambda: bool(_asked_for(lab, path, since=fault.began)), 3.0)
        # A client may send one request after another.
        lab.history.wait_for(
            lambda: len(_asked_for(lab, path, since=fault.began)) >= len(hanging), 0.5
        )
        hung = hanging["read"].is_alive()
        closed = ends_cleanly(lab, client, within=lab.deadline + ENDS_WITHIN)
        for caller in hanging.values():
            caller.join(timeout=lab.deadline)
    left = {f"the {verb} still hangs" for verb, caller in hanging.items() if caller.is_alive()}
    lab.require("a read that hung when it was ended", lambda _: hung)
    lab.judge(
        none_of("no call outlasts the end", left, at=closed.ended or lab.history.now()),
        steady=False,
    )


def _asked_for(lab: Lab, path: str, *, since: float) -> list[Exchange]:
    asked = lab.history.find(since=since, where=lambda e: e.kind != "renew")
    return [e for e in asked if e.kind not in ("read", "metadata") or path in e.path]


LIVES = 8
"""More clients than `SPARE`, so that one leak in each shows."""


@pytest.mark.scenario("PRC-08")
def test_closed_clients_leave_nothing_open(lab: Lab) -> None:
    """Eight more closed clients leave nothing open that the first one did not."""
    good = _life_that_is_closed(lab)
    before = footprint_at_rest(lab)
    for _ in range(LIVES):
        good = good and _life_that_is_closed(lab)
    lab.require(f"{LIVES + 1} clients that were closed", lambda _: good)
    lab.judge(
        none_of("closed clients leave nothing open", left_behind(lab, before)),
        steady=False,
    )


def _life_that_is_closed(lab: Lab) -> bool:
    """Use and close a client; return whether its ``close`` succeeded."""
    client = lab.start()
    if client.subject.pid is not None:
        raise NotClaimed("its process ends with it, and all that it holds")
    for verb in all_read_verbs(lab):
        client.ask(verb)
    if lab.can("health"):
        client.healthy()
    return not client.close(timeout=ENDS_WITHIN).failed
