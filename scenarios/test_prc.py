"""The client's process: what it says and must not say, frozen, and ended while it is busy."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Literal

import pytest

from vault_harness.errors import SubjectError
from vault_harness.faults import Fault, process_tree
from vault_harness.faults.answers import HTML, INTERNAL_ERROR, JSON, NOTICE, QUOTA, a_page
from vault_harness.scenario import Exchange, Finding, Lab, NotClaimed, Stub
from vault_harness.scenario.driver import Way, reading
from vault_harness.scenario.helpers import (
    allow_writes,
    canary,
    every_way,
    footprint_at_rest,
    has_its_files,
    left_behind,
    sleeps,
    turns,
    vault_gone,
)
from vault_harness.scenario.lab import KEY, PATH
from vault_harness.scenario.leases import first_credential, pool
from vault_harness.scenario.oracles import (
    HANDOVER,
    accepted_again,
    at_most,
    bad_logins_at_most,
    health_is_answered,
    kept_unasked,
    logins_at_most,
    logins_given_up,
    never_renews,
    no_failed_read,
    no_refused_use,
    none_of,
    renews_within,
    replaced_in_turn,
    requests_at_most,
    takes_at_most,
)
from vault_harness.subjects import OperationFailed
from vault_harness.vault.approle import SecretId

WORKERS = 4
"""How many processes PRC-01 has forked."""


@pytest.mark.scenario("PRC-01")
def test_forked_workers(lab: Lab) -> None:
    """A client that reads is forked four times; each worker outlives a token, and ends."""
    allow_writes(lab, "workers/*")  # which lets the role read them too
    paths = [f"workers/{number}" for number in range(1, WORKERS + 1)]
    right = {path: lab.put("v1", path=path, key="KEY") for path in paths}
    client = lab.start()
    parents, lives, every = lab.accessor(), 1.3 * lab.ttl, 0.25
    pid = client.subject.pid
    assert pid is not None
    alone, since = _processes(pid), lab.history.now()
    with lab.reading(every=every), ThreadPoolExecutor(WORKERS) as pool:
        # A read of the parent's is under way at each fork: what it holds then nobody lets go of in
        # a child, which has none of the parent's other threads.
        with lab.http.delay("read", path=f"*/data/{PATH}", by=2 * every) as busy:
            busy.optional = True  # from memory it is served at once
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
            # The parent may have replaced it in its turn, and let it come to its end.
            set() if until > _end_of(lab, parents) or lab.token_lives(parents) else {"it is dead"},
        ),
        # Who never renews logs in anew in its time, in the parent and in each worker.
        logins_at_most(WORKERS, since=since, until=until, due=0.3, holders=1 + WORKERS),
        no_failed_read(since=since, path=PATH),
    )


def _is_reading(lab: Lab, *, since: float) -> bool:
    """Whether a read is under way that began since then."""
    return any(o.ended is None for o in lab.history.calls("read", since=since))


def _end_of(lab: Lab, accessor: str) -> float:
    """When a token ends by itself, by what it was granted last."""
    granted = lab.history.find("login", "renew", where=lambda e: e.good and e.accessor == accessor)
    return max(((e.ended or e.began) + (e.ttl or 0.0) for e in granted), default=float("inf"))


def _processes(pid: int) -> int:
    """How many the client has; none once it is gone."""
    try:
        return len(process_tree(pid))
    except ProcessLookupError:
        return 0


def _shared(lab: Lab, paths: set[str], since: float) -> dict[str, float]:
    """Connections that carried reads of several processes: each process reads one of these.

    Returns:
        What each carried, and when the last of those processes first read over it.
    """
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
def test_thread_that_died_is_noticed(lab: Lab) -> None:
    """The client's threads end as by a defect, its renewer among them; callers read on."""
    if lab.environment.subject.kind != "in-process":
        raise NotClaimed("only threads of this process can be ended from here: not a program's")
    others = set(threading.enumerate())
    lab.start()
    born = lab.history.logins()[-1]
    threads = [one for one in threading.enumerate() if one not in others and not _ours(one)]
    if not threads:
        raise NotClaimed("the client has no thread of its own")
    with lab.reading(every=0.5):
        with lab.process.threads_ended(threads) as fault:
            lab.watch(1.2 * lab.ttl)
        end = lab.history.now()
    lab.require(
        "a thread of the client that ended",
        lambda _: ", ".join(sorted({one.name for one in threads if not one.is_alive()})),
    )
    lab.judge(
        renews_within(0.3, 0.95, until=end),
        # The one that is there, and another in the place of a renewal that did not come.
        # Of a client that never renews both come in their turn.
        logins_at_most(0 if never_renews(lab.history) else 1, since=fault.began, due=0.3),
        no_failed_read(since=born.began),
    )


def _ours(thread: threading.Thread) -> bool:
    """Whether the harness runs it to call the client."""
    return thread.name.startswith("subject ")


@pytest.mark.scenario("PRC-04")
def test_no_secret_is_said(lab: Lab) -> None:
    """In turn: a cut login, a denied path, cut reads, a seal, a refused secret-id, an outage."""
    started = time.time() - 1.0  # a file's time may be a moment behind the clock's
    lab.put("v1", value=f"canary-v1-{secrets.token_hex(55)}")  # 120 bytes, from about 340 on
    _cut_a_login(lab)
    client = lab.start()

    with ExitStack() as callers:
        for way in every_way(lab):
            callers.enter_context(reading(client, every=0.25, verb=way))
        client.read("ai/openai", "OPENAI_API_KEY")
        _write_in_vain(lab)
        # In the headers, and in the second half of the value, wherever their length lets it begin.
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
        with lab.vault.token_revoked(lab.accessor()) as fault:
            lab.hold(fault, 1.5)
        lab.deliver(good)
        lab.until_good_read(since=fault.end, within=lab.recovery_after(fault))
        with lab.network.down() as fault:
            _write_in_vain(lab)
            lab.hold(fault, 0.8)
        lab.until_good_read(since=fault.end, within=lab.recovery_after(fault))
    told = lab.files_for_all(since=started)
    lab.judge(
        bad_logins_at_most(4, secret_id="wrong secret-id"),
        none_of("nobody else can read a secret in its files", told, harm=True),
    )


def _cut_a_login(lab: Lab) -> None:
    """Start a client whose first login is answered with the first half of what it asks for.

    One that is ended again: who has lost its token logs in when it finds that out, some only at the
    next renewal, and who starts logs in at once.
    """
    token = f"hvs.{secrets.token_hex(24)}"
    lab.secrets.add("token", token, "token of a login that is cut")
    cut = f'{{"lease_id": "", "auth": {{"client_token": "{token}", "accessor": "'
    with lab.http.fail("login", first=1, status=200, body=cut.encode()):
        if (client := lab.open()) is None:
            return  # it refuses to start, which is an answer too
        if (read := client.read()).failed and read.outcome not in ("hung", "died"):
            read.verb = "warm-up"  # nobody promised that it is ready at once
        client.close(timeout=lab.deadline + 5.0)


def _write_in_vain(lab: Lab) -> None:
    """Write, and change a key, where no policy allows it, or nobody can, if the subject does it."""
    stores = {"write": lab.client.write, "update": lab.client.update}
    tried = [store for word, store in stores.items() if lab.can(word)]
    with ThreadPoolExecutor(len(stores)) as callers:
        list(callers.map(lambda store: store("ai/openai", {"OPENAI_API_KEY": canary(lab)}), tried))


@pytest.mark.scenario("PRC-03")
def test_frozen_client_wakes_up(lab: Lab) -> None:
    """The client's process stands still for longer than its token, and a lease, live; no calls."""
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
                within=max(0.0, woken + bound + 0.5 - lab.history.now()),  # what comes late is told
            )
        lab.watch(1.5)
    calls = len(lab.history.calls("read", since=woken, until=woken + 1.0))
    # Of each secret that it keeps and nobody asks for, and of what it leases: a request that is
    # refused, and one that is not.
    kept = 2 * (kept_unasked(lab.history, fault.began) + lab.has_database)
    if lab.has_database:
        lab.judge_later(
            # What it held has ended long ago, by any clock that went on.
            no_refused_use(since=woken, may_be_empty=True),
            accepted_again(since=woken, within=bound),
        )
    lab.judge(
        logins_at_most(1, since=woken),
        requests_at_most(5 + calls + kept, since=woken, until=woken + 1.0),
    )


LOGS_IN_EVERY = 0.25
"""Seconds from one login at the database to the next."""


@pytest.mark.scenario("PRC-05")
def test_health_goes_red_and_green_again(lab: Lab) -> None:
    """Well in the steady state, not well under a seal, well again, and the same with Vault gone."""
    lab.start()
    with lab.reading(every=0.5):
        since = lab.history.now()
        if not turns(lab, well=True, within=lab.recovery):  # it may look only now and then
            lab.note(Finding(TRUTH, "it says not well in the steady state", since))
        # What tells of one loss, and of its end, may be spent by that: a second loss is told too.
        for loss in (lab.vault.sealed(), vault_gone(lab)):
            if not _turns_red_and_green(lab, loss):
                break
    lab.judge(health_is_answered())


TRUTH = "health tells the truth"


def _turns_red_and_green(lab: Lab, loss: AbstractContextManager[Fault]) -> bool:
    """Let Vault fail until the client says that it is not well; whether it does, and is again."""
    # Who says what its own last look came to has had another one by then, and that its end.
    red_bound = max(0.5 * lab.ttl, lab.refresh + lab.deadline)
    with loss as fault:
        red = turns(lab, well=False, within=red_bound)
        lab.hold(fault, 0.0)
    lab.recovers(after=fault)
    # Whoever looks at itself now and then may need as long for one word as for the other.
    green_bound = max(lab.recovery_after(fault), red_bound)
    green = turns(lab, well=True, within=green_bound)
    if not red:
        text = f"it said well for {red_bound:g} s of {fault.name}"
        lab.note(Finding(TRUTH, text, fault.began))
    if not green:
        text = f"it said not well {green_bound:.3g} s after Vault answered again"
        lab.note(Finding(TRUTH, text, fault.end))
    return red and green


SPARE = 6
"""What a client may hold more of after a round of faults than before, without leaking."""


@pytest.mark.scenario("PRC-06")
def test_faults_of_all_kinds_leave_nothing_behind(lab: Lab) -> None:
    """Seals, cuts, silence, half answers, lost tokens: three rounds cost no more than one; 404s."""
    allow_writes(lab, LEDGER)
    lab.start()
    answers = itertools.cycle(FOR_A_LOGIN)
    back = _round_of_faults(lab, next(answers))  # what a client makes once, it makes now
    _write_anew(lab)
    before = footprint_at_rest(lab)
    for _ in range(2):
        back = back and _round_of_faults(lab, next(answers))
    for _ in range(SPARE - 1):  # with those of both rounds one more than `SPARE`
        if back and (back := _lost_token(lab, next(answers))):
            _ask_for_what_is_not_there(lab)
            _write_anew(lab)
    more = left_behind(lab, before, spare=SPARE)
    lab.judge(
        none_of("faults leave nothing behind", more),
        at_most(
            1 + replaced_in_turn(lab.history),
            lab.tokens_alive(),
            "tokens alive",
            late=logins_given_up(lab.history, since=0.0),
        ),
    )


FOR_A_LOGIN = (
    Stub(status=500, body=INTERNAL_ERROR, headers=JSON),
    Stub(status=403, body=a_page(403), headers=HTML),
    Stub(status=429, body=QUOTA, headers=JSON),
    Stub(status=404, body=NOTICE, headers=JSON),
    Stub(status=502, body=a_page(502), headers=HTML),
)
"""What a login is answered that fails, in turn: none of it says anything of a secret-id."""


def _round_of_faults(lab: Lab, answer: Stub) -> bool:
    """One fault of each kind under reads in each way, and a probe; a good read comes after each.

    Returns:
        Whether it has a token at last: who got none has none to lose.
    """
    for fails in (
        lab.vault.sealed,
        lab.network.down,
        lambda: lab.network.black_hole(closes_after=0.2),
        lambda: lab.network.truncated(after=150),
    ):
        with _called_in_each_way(lab):
            with fails() as fault:
                lab.hold(fault, 0.5)
            lab.recovers(after=fault)
    with _called_in_each_way(lab):
        return _lose_the_token(lab, 0.5, answer)


@contextmanager
def _called_in_each_way(lab: Lab) -> Iterator[None]:
    """Several callers, in each way of reading, and who asks for its health."""
    with ExitStack() as callers:
        callers.enter_context(lab.reading(every=0.3, callers=3))
        for way in every_way(lab)[1:]:
            callers.enter_context(reading(lab.client, every=0.3, verb=way))
        if lab.can("health"):
            callers.enter_context(_probing(lab))
        yield


def _lost_token(lab: Lab, answer: Stub) -> bool:
    """A token is lost, and one caller, who was not under way then, has its secret again."""
    with lab.reading(every=0.2, callers=1):
        return _lose_the_token(lab, 0.0, answer)


def _lose_the_token(lab: Lab, seconds: float, answer: Stub) -> bool:
    """Revoke the token for so long at least; the first login for another one is answered so.

    Returns:
        Whether a good read came after all.
    """
    with (
        lab.http.fail(
            "login", first=1, status=answer.status, body=answer.body, headers=answer.headers
        ) as failing,
        lab.vault.token_revoked(lab.accessor()) as lost,
    ):
        failing.optional = True  # who found the loss in a call that was over by then comes late
        lab.hold(lost, seconds)
        lab.until(lambda: bool(failing.touched), within=lab.reach)
    # So short a failure does not tell how long a client may rest after it.
    lab.recovers(after=lost, within=lab.recovery)
    return any(call.good for call in lab.history.calls("read", "read_cached", since=lost.end))


NO_SUCH_SECRET = "backend/no-such-secret"
"""What is not there: that answer too has a body, which somebody has to read to its end."""


def _ask_for_what_is_not_there(lab: Lab) -> None:
    """Ask for a secret that there is not, in each way, and once more: an agent has no such file."""
    if has_its_files(lab):
        return
    for _ in range(2):
        for way in every_way(lab):
            lab.client.ask(way, NO_SUCH_SECRET, KEY)


LEDGER = "backend/ledger"
"""What is written in PRC-06, and read by nobody else."""


def _write_anew(lab: Lab) -> None:
    """Write a secret and change a key of it, and both once more, as far as the subject does it."""
    for _ in range(2):
        for word, store in (("write", lab.client.write), ("update", lab.client.update)):
            if lab.can(word):
                store(LEDGER, {"entry": canary(lab)})


@contextmanager
def _probing(lab: Lab) -> Iterator[None]:
    """Ask for the client's health again and again while the block runs, as who supervises it."""
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.3):
            lab.client.healthy()

    probe = threading.Thread(target=ask, name="probe", daemon=True)
    probe.start()
    try:
        yield
    finally:
        over.set()
        probe.join(timeout=lab.client.patience)


Call = Way | Literal["write"]
"""What hangs when the subject of PRC-07 is ended."""


@pytest.mark.scenario("PRC-07")
def test_end_while_a_call_hangs(lab: Lab) -> None:
    """Answers vanish, a read in each way and a write wait for theirs, and the subject is ended."""
    client = lab.start()
    if lab.leaves("file"):
        raise NotClaimed("its reads are looks into a file, which do not hang")
    path, key = lab.entry.spare_path, lab.entry.spare_key  # what nobody has read, and no cache has

    def call_in_vain(way: Call) -> None:
        # Not noted: of a process that ends, nobody hears how its last call ended.
        subject, patience = client.subject, lab.deadline + 6.0
        with contextlib.suppress(OperationFailed, SubjectError):
            if way == "write":
                subject.write(LEDGER, {"entry": canary(lab)}, timeout=patience)
            elif way == "read_all":
                subject.read_all(path, timeout=patience)
            elif way == "read_cached":
                subject.read_cached(path, key, timeout=patience)
            else:
                subject.read(path, key, timeout=patience)

    calls: list[Call] = list(every_way(lab))
    if lab.can("write"):
        calls.append("write")
    with lab.network.black_hole() as fault:
        hanging = {
            way: threading.Thread(target=call_in_vain, args=(way,), name=f"hanging {way}")
            for way in calls
        }
        for caller in hanging.values():
            caller.daemon = True
            caller.start()
        lab.history.wait_for(lambda: bool(_asked_for(lab, path, since=fault.began)), 3.0)
        # Who asks once for all that want the same sends no more.
        lab.history.wait_for(
            lambda: len(_asked_for(lab, path, since=fault.began)) >= len(hanging), 0.5
        )
        hung = hanging["read"].is_alive()
        closed = client.close(timeout=lab.deadline + 5.0, beyond=5.0)
        ended, code = closed.ended or lab.history.now(), client.subject.exit_code
        for caller in hanging.values():
            caller.join(timeout=lab.deadline)
    left = {f"the {way} still hangs" for way, caller in hanging.items() if caller.is_alive()}
    lab.require("a read that hung when it was ended", lambda _: hung)
    lab.judge(
        takes_at_most(
            lab.deadline + 5.0 + HANDOVER, "until it has ended", since=closed.began, until=ended
        ),
        none_of("it ends cleanly", {closed.message} if closed.failed else (), at=closed.began),
        # Who would hang for ever, and is ended by a signal that he does not know, ends in time.
        none_of("its exit code is 0", {f"it is {code}"} if code else (), at=ended),
        none_of("no call outlasts the end", left, at=ended),
        steady=False,
    )


def _asked_for(lab: Lab, path: str, *, since: float) -> list[Exchange]:
    """What a client has sent for a secret, or may have sent before it asks for it.

    What keeps other secrets fresh, and a token alive, goes on by itself.
    """
    asked = lab.history.find(since=since, where=lambda e: e.kind != "renew")
    return [e for e in asked if e.kind not in ("read", "metadata") or e.path.endswith(path)]
