"""Secrets and caches: rotated, outdated, deleted and missing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from secrets import token_hex

import pytest

from vault_harness.errors import SubjectError
from vault_harness.judge.conditions import Condition
from vault_harness.judge.driver import Driver, ReadVerb, reading
from vault_harness.judge.helpers.calls import all_read_verbs, has_its_files, own_path, read_verbs
from vault_harness.judge.helpers.instead import vault_gone
from vault_harness.judge.helpers.starts import (
    LEDGER,
    allow_writes,
    canary,
    look_like_something_else,
    version_of,
)
from vault_harness.judge.lab import KEY, MOUNT, PATH, Lab
from vault_harness.judge.oracles import (
    a_denial_costs_little,
    at_most,
    fails_as,
    logins_at_most,
    no_failed_read,
    none_of,
    of_one_version,
    requests_a_call_at_most,
    requests_at_most,
    sees,
)
from vault_harness.judge.subjects import InProcessSubject, OperationFailed
from vault_harness.judge.verdict import Finding, NotClaimed, NotExercised
from vault_harness.recorder.fault import Fault
from vault_harness.recorder.history import SLACK, History
from vault_harness.recorder.observations import GONE, Operation

NO_SUCH_KEY = "NO_SUCH_KEY"

NAMESAKE = "shared/celery"
"""The path ends like that of the secret that KV-03 deletes."""

LATE = "backend/late"

PAIR, TAKEN_OUT = "backend/pair", "CELERY_PASSWORD"

EMPTY, PADDED = "NOTES", "TLS_KEY"
"""An empty value, and one with blanks and a line's end."""

REBORN = "backend/data/ecommerce/jobs of today"
"""Removed and written again as version 1. The path looks partly like a URL of Vault, and has blanks
to encode.
"""

SPELLED = tuple(f"backend/{name}" for name in ("odd", "Odd", "odd x", "odd+x", "odd-\u00fc"))

REFUSABLE = tuple(f"backend/{name}" for name in ("odd?x", "odd#x", "odd%3Fx"))

RETIRED = "backend/retired"

KEPT = {
    "note": "",
    "pin": "0042",
    "certificate": '-----BEGIN-----\r\n"Gr\u00fc\u00dfe" \\ 100 %\x00\n-----END-----\n',
}

AT_ITS_ENDS = ("\r\n ", " \r\n")

VERSIONS = 16

LATE_BY_FAR = 2.0

BEYOND_REFRESH = 2.0
"""Seconds beyond R in KV-07: a value from memory must then be marked."""

REFUSED = 1.2
"""Seconds of refused connections: two calls in each way of reading."""

LONGEST = 30.0
"""Seconds; longer would make a scenario too long."""


def _refuse_longer(
    name: str, seconds: float, refusal: type[NotClaimed | NotExercised] = NotExercised
) -> None:
    """Raise `refusal` for a declared time that would make the scenario too long.

    `NotClaimed` only if no client needs to declare it: such a time is no missing capability.
    """
    if seconds > LONGEST:
        raise refusal(
            f"it declares {name} of {seconds:g} s; configure it with at most {LONGEST:g} s"
        )


def _held(read: Operation) -> Condition:
    return lambda _: read.good


def _in_time(lab: Lab, call: Operation, since: float) -> bool:
    return call.began <= since + lab.refresh + SLACK


@pytest.mark.scenario("KV-01")
def test_rotated_secret_is_seen(lab: Lab) -> None:
    """A new version is seen in time while callers read, also from the cache."""
    client = lab.start()
    _refuse_longer("refresh", lab.refresh)
    for number, verb in enumerate(read_verbs(lab), start=2):
        # One way at a time: a plain read would refresh the cache.
        before = client.read(verb=verb)
        new = f"v{number}"
        lab.put(new)
        changed = lab.history.now()
        late = changed + lab.refresh
        seen = client.read(verb=verb)
        while seen.value != new and (seen.good or not seen.failed) and seen.began <= late:
            lab.watch(0.2)
            seen = client.read(verb=verb)
        lab.require(
            f"a value before the change ({verb})",
            _held(before),
        )
        if not seen.failed and seen.value != new:
            promise = f"a rotated secret is seen within {lab.refresh:g} s"
            over = seen.began - late - SLACK
            if over > 0:
                text = f"{verb} still gives {seen.value} {seen.began - changed:.2f} s after it"
                lab.note(Finding(promise, text, seen.began, missed=over, until=seen.began))
    lab.judge(no_failed_read())


@pytest.mark.scenario("KV-02")
def test_stale_values_have_an_end(lab: Lab) -> None:
    """A cache serves its last good value for max_stale in an outage, and no longer."""
    client = lab.start()
    limit = lab.declared("max_stale", 0.0)
    _refuse_longer("max_stale", limit, NotClaimed)
    _refuse_longer("refresh", lab.refresh)
    longest = max(limit, lab.refresh)  # an unmarked value may be as old as R
    # These need not serve an old value, and must not after max_stale.
    others: list[ReadVerb] = [verb for verb in all_read_verbs(lab) if verb != "read_cached"]
    paths = {verb: own_path(lab, lab.entry.path, verb) for verb in all_read_verbs(lab)}
    for path in {*paths.values()} - {lab.entry.path}:
        lab.put("v1", path=path)
    for verb, path in paths.items():
        client.ask(verb, path)
    # A client may treat a seal and refused connections differently.
    with lab.vault.sealed() as fault:

        def ask_until(end: float, met: Callable[[], bool] = lambda: False) -> None:
            while True:
                call = client.ask("read_cached", paths["read_cached"])
                _judge_age(lab, call, _age(call, fault), limit)
                if call.outcome == "died" or lab.history.now() > end or met():
                    return
                lab.watch(0.3)

        ask_until(fault.began + (limit - lab.refresh) / 2)
        with lab.network.down() as gone:
            # A call that begins near the end may take its whole deadline.
            ask_until(fault.began + longest + max(3.0, lab.deadline + 1.0))
            with ThreadPoolExecutor(len(others)) as callers:
                for late in callers.map(lambda verb: client.ask(verb, paths[verb]), others):
                    _judge_excess(lab, late, _age(late, fault), longest)
        # A client that rests does not know yet that it can reach Vault again.
        ask_until(gone.end + lab.reach, lambda: _meets_a_seal(lab, since=gone.end))
        if lab.can("health") and client.healthy():
            lab.note(
                Finding("health tells the truth", "it says well in an outage", lab.history.now())
            )
    lab.judge()


def _meets_a_seal(lab: Lab, *, since: float) -> bool:
    return bool(lab.history.find("read", since=since, where=lambda e: e.status == 503))


def _age(call: Operation, fault: Fault) -> float:
    return (call.ended or call.began) - fault.began


def _judge_age(lab: Lab, call: Operation, age: float, limit: float) -> None:
    # The value may have been as old as R at the outage's begin.
    if call.failed and age < limit - lab.refresh - SLACK:
        text = f"a read failed {age:.2f} s into the outage as {call.outcome}"
        lab.note(Finding(f"the last good value is served for {limit:g} s", text, call.began))
    _judge_excess(lab, call, age, max(limit, lab.refresh))


def _judge_excess(lab: Lab, call: Operation, age: float, limit: float) -> None:
    over = age - limit - lab.deadline - SLACK
    if not call.failed and over > 0:
        lab.note(
            Finding(
                f"no value is served past {limit:g} s",
                f"{call.verb} gave one {age:.2f} s into the outage",
                call.began,
                harm=True,
            )
        )


@pytest.mark.scenario("KV-03")
def test_deleted_is_not_missing(lab: Lab) -> None:
    """Missing, deleted, destroyed and rewritten secrets are reported as such, in each way."""
    client = lab.start()
    if lab.leaves("file"):
        raise NotClaimed("it leaves the file of a secret that is deleted, as it says")
    _refuse_longer("refresh", lab.refresh)
    kv = lab.stack.operator.client.secrets.kv.v2
    key, verbs = "CELERY_BROKER_URL", all_read_verbs(lab)
    paths = {verb: own_path(lab, "backend/celery", verb) for verb in verbs}
    namesakes = {verb: own_path(lab, NAMESAKE, verb) for verb in verbs}
    for path in {*paths.values(), *namesakes.values()}:
        lab.put("v1", path=path, key=key)
    for way in read_verbs(lab):
        _judge_absence(lab, client.read(paths[way], NO_SUCH_KEY, verb=way))
    for verb in verbs:
        # The key and the last part of the path are the same; no cache may confuse them.
        before, namesake = (client.ask(verb, one[verb], key) for one in (paths, namesakes))
        lab.require(f"a value before it was deleted ({verb})", _held(before))
        lab.require(f"its namesake's ({verb})", _held(namesake))

    _read_what_is_spelled_alike(lab, key, verbs)
    taken_out = _read_a_pair(lab, key, verbs)
    written = _read_before_it_is_written(lab, LATE, key, verbs)
    written_again = _version_starts_again(lab, key, verbs)
    retired = _is_destroyed_at_once(lab, key, verbs)

    for path in {*paths.values(), *namesakes.values()}:
        lab.delete(path)
    for where in (paths, namesakes, *(dict.fromkeys(verbs, one) for one in retired)):
        _is_reported_as(lab, "deleted", where, key)
    # Before the others are destroyed, so that both waits run together.
    undeleted = _undelete(lab, {*namesakes.values()}, key)
    for path in {*paths.values()}:
        kv.destroy_secret_versions(path, [1, 2], mount_point="ecommerce")
    _is_reported_as(lab, "deleted", paths, key)
    for path in {*paths.values()}:
        kv.delete_metadata_and_all_versions(path, mount_point="ecommerce")
    _is_reported_as(lab, "missing", paths, key)
    for verb, path in namesakes.items():
        _is_there(lab, "is undeleted", (path, key), [verb], since=undeleted)
    _is_there(lab, "was missing", (LATE, key), verbs, since=written)
    _is_taken_out(lab, key, verbs, since=taken_out)
    _is_the_new_one(lab, REBORN, key, verbs, since=written_again)
    lab.needs_outcomes()
    client.read()
    lab.judge(no_failed_read(path=PATH))


def _is_reported_as(lab: Lab, wanted: str, where: Mapping[ReadVerb, str], key: str) -> None:
    since = lab.history.now()
    for verb, path in where.items():
        call = lab.client.ask(verb, path, key)
        # For R a client may remember the deletion, but no other failure.
        while (not call.failed or (wanted, call.outcome) == ("missing", "deleted")) and _in_time(
            lab, call, since
        ):
            lab.watch(0.3)
            call = lab.client.ask(verb, path, key)
        promise = f"a {wanted} secret is reported as {wanted}"
        if not call.failed:
            text = f"{verb} still gives {call.value} after {lab.refresh:g} s"
            lab.note(Finding(promise, text, call.began))
        elif call.outcome not in ("error", wanted):
            text = f"it was reported as {call.told} ({verb})"
            lab.note(Finding(promise, text, call.began))


def _undelete(lab: Lab, paths: Collection[str], key: str) -> float:
    kv = lab.stack.operator.client.secrets.kv.v2
    for path in paths:
        with lab.changing("v1", path=path, key=key):
            kv.undelete_secret_versions(path, [version_of(lab, path)], mount_point=lab.entry.mount)
    return lab.history.now()


def _read_what_is_spelled_alike(lab: Lab, key: str, verbs: Collection[ReadVerb]) -> None:
    if has_its_files(lab):
        return
    for path in (*SPELLED, *REFUSABLE):
        lab.put("v1", path=path, key=key)
    since = lab.history.now()
    for verb in verbs:  # one way at a time: a plain read may correct the cache
        for path in (*SPELLED, *REFUSABLE):
            lab.client.ask(verb, path, key)
    for path in SPELLED:
        lab.judge_later(no_failed_read(path=path, since=since, until=lab.history.now()))


def _read_a_pair(lab: Lab, key: str, verbs: Collection[ReadVerb]) -> float | None:
    """Read the keys of a secret, and remove all but one.

    The values are difficult: empty, not ASCII, with a PEM key's line end, or with JSON escapes.
    Vault announces that it will delete this version in an hour.

    Return when the keys were removed; None if the subject renders files.
    """
    if has_its_files(lab):
        return None
    value = f"canary-v1-Gr\u00fc\u00dfe-{token_hex(12)}"
    padded = f" canary-v1-{token_hex(12)} \n"
    others = {
        TAKEN_OUT: value,
        EMPTY: "",
        PADDED: padded,
        TAKEN_OUT.lower(): f"canary-lower-{token_hex(12)}",
        **look_like_something_else(),
    }
    kv = lab.stack.operator.client.secrets.kv.v2
    kv.update_metadata(PAIR, delete_version_after="1h", mount_point=lab.entry.mount)
    lab.put("v1", path=PAIR, key=key, also=others)
    if lab.can("read_all"):
        lab.client.read_all(PATH, (KEY,))  # another secret, which a client must not confuse
    since = lab.history.now()
    with ExitStack() as callers:
        # Two callers for each: a client that merges requests must not mix up the keys.
        for key_verb in read_verbs(lab):
            for one in (key, TAKEN_OUT):
                callers.enter_context(
                    lab.reading(every=0.05, callers=2, verb=key_verb, path=PAIR, key=one)
                )
        lab.watch(0.5)
    for verb in verbs:
        held = lab.client.ask(verb, PAIR, key)
        lab.require(f"one of two keys of a secret, read ({verb})", _held(held))
        for one in others:
            lab.client.ask(verb, PAIR, one)
    lab.judge_later(no_failed_read(path=PAIR, since=since, until=lab.history.now()))
    lab.put("v2", path=PAIR, key=key)
    return lab.history.now()


def _is_taken_out(lab: Lab, key: str, verbs: Collection[ReadVerb], *, since: float | None) -> None:
    if since is None:
        return

    def ask(verb: ReadVerb) -> Operation:
        if verb == "read_all":
            return lab.client.read_all(PAIR, (key,), without=(TAKEN_OUT, KEY))
        return lab.client.read(PAIR, TAKEN_OUT, verb=verb)

    def is_there(call: Operation) -> bool:
        return not call.failed and call.value != f"{PAIR}:v2"

    for verb in verbs:
        call = ask(verb)
        while is_there(call) and _in_time(lab, call, since):
            lab.watch(0.3)
            call = ask(verb)
        if is_there(call):
            promise = f"a key that is taken out of its secret is missing within {lab.refresh:g} s"
            lab.note(Finding(promise, f"{verb} still gives {call.value}", call.began))
        elif verb != "read_all":
            _judge_absence(lab, call)


def _read_before_it_is_written(
    lab: Lab, path: str, key: str, verbs: Collection[ReadVerb]
) -> float | None:
    """Read a missing secret and write it; return when, or None if the subject renders files."""
    if has_its_files(lab):
        return None
    since = lab.history.now()
    for verb in verbs:
        _judge_absence(lab, lab.client.ask(verb, path, key))
    # Vault has answered, so there is no reason to try again.
    lab.judge_later(
        requests_a_call_at_most(2, "read", since=since, until=lab.history.now(), path=path)
    )
    lab.put("v1", path=path, key=key)
    return lab.history.now()


def _read_at_first(lab: Lab, path: str, key: str, verbs: Collection[ReadVerb]) -> None:
    lab.put("v1", path=path, key=key)
    since = lab.history.now()
    for verb in verbs:
        held = lab.client.ask(verb, path, key)
        lab.require(f"a value of {path} before it went ({verb})", _held(held))
    lab.judge_later(no_failed_read(path=path, since=since, until=lab.history.now()))


@contextmanager
def _going(lab: Lab, path: str) -> Iterator[None]:
    """Note a removal: from its start no value is right."""
    change = lab.history.note_rotation(path, GONE)
    yield
    lab.history.end_rotation(change)


def _version_starts_again(lab: Lab, key: str, verbs: Collection[ReadVerb]) -> float | None:
    """Write a removed secret again under the old version number.

    Return when; None if the subject renders files.
    """
    if has_its_files(lab):
        return None
    _read_at_first(lab, REBORN, key, verbs)
    with _going(lab, REBORN):
        lab.stack.operator.client.secrets.kv.v2.delete_metadata_and_all_versions(
            REBORN, mount_point=lab.entry.mount
        )
    lab.put("v2", path=REBORN, key=key)
    return lab.history.now()


def _is_the_new_one(
    lab: Lab, path: str, key: str, verbs: Collection[ReadVerb], *, since: float | None
) -> None:
    if since is None:
        return
    for verb in verbs:
        call = lab.client.ask(verb, path, key)
        while call.value != f"{path}:v2" and call.outcome != "died" and _in_time(lab, call, since):
            lab.watch(0.3)
            call = lab.client.ask(verb, path, key)
        if call.value != f"{path}:v2":
            promise = f"a secret that is removed and written again is seen within {lab.refresh:g} s"
            text = f"{verb} still gives {call.value or call.told}"
            lab.note(Finding(promise, text, since, until=call.began))


def _is_destroyed_at_once(lab: Lab, key: str, verbs: Collection[ReadVerb]) -> list[str]:
    """Destroy a version, for which Vault tells no time of deletion.

    Return its path; nothing if the subject renders files.
    """
    if has_its_files(lab):
        return []
    _read_at_first(lab, RETIRED, key, verbs)
    with _going(lab, RETIRED):
        lab.stack.operator.client.secrets.kv.v2.destroy_secret_versions(
            RETIRED, [version_of(lab, RETIRED)], mount_point=lab.entry.mount
        )
    return [RETIRED]


def _is_there(
    lab: Lab, what: str, where: tuple[str, str], verbs: Collection[ReadVerb], *, since: float | None
) -> None:
    if since is None:
        return
    for verb in verbs:
        call = lab.client.ask(verb, *where)
        while call.failed and call.outcome != "died" and _in_time(lab, call, since):
            lab.watch(0.3)
            call = lab.client.ask(verb, *where)
        if call.failed:
            promise = f"a secret that {what} is seen within {lab.refresh:g} s"
            text = f"{verb} still ends {call.told}"
            lab.note(Finding(promise, text, since, until=call.began))


def _judge_absence(lab: Lab, call: Operation) -> None:
    """Check that a read of something missing gives no value and reports no outage."""
    promise = "what is not there is reported as missing"
    if not call.failed:
        text = f"{call.verb} gives a value that nobody ever wrote"
        lab.note(Finding(promise, text, call.began, harm=True))
    elif call.outcome not in ("error", "missing"):
        text = f"it was reported as {call.told} ({call.verb})"
        lab.note(Finding(promise, text, call.began))


@pytest.mark.scenario("KV-04")
def test_lost_update(lab: Lab) -> None:
    """A change is made despite another writer's changes, and loses none of them."""
    allow_writes(lab, LEDGER)
    lab.put("v1", path=LEDGER, key="theirs", also={"mine": "old", **KEPT})
    client = lab.start()
    done: list[Operation] = []
    pattern, mine = f"*/data/{LEDGER}", canary(lab)
    with lab.http.delay("read", path=pattern, first=1, by=0.3 * lab.deadline) as fault:
        change = threading.Thread(
            target=lambda: done.append(client.update(LEDGER, {"mine": mine})), daemon=True
        )
        change.start()
        lab.until(
            lambda: bool(done) or _ledger_is_read(lab, since=fault.began), within=lab.deadline
        )
        if reads_first := _ledger_is_read(lab, since=fault.began):
            _write_theirs(lab, {"theirs": "new", "mine": "old", **KEPT})
        change.join(client.patience)
        # A client that lets Vault merge cannot lose another writer's change.
        if not reads_first and _is_merged(lab, since=fault.began):
            fault.optional = True
            lab.require("Vault merged its change", lambda _: "it was a PATCH")
    looked, found = lab.history.now(), _ledger(lab)
    said = done[0] if done else None
    if not reads_first and "theirs" in found and (said is None or said.failed):
        raise NotExercised("it does not read the secret before it changes a key")
    now = "new" if found.get("mine") == mine else "old"
    lost = {"theirs"} - set(found) | {one for one in KEPT if found.get(one) != KEPT[one]}
    changed = lab.history.now()
    _change_overtaken_twice(lab, pattern)
    _two_change_at_once(lab, pattern)
    _change_with_a_dead_token(lab)
    _change_unread(lab, lab.http.fail("read", path=pattern, status=500))
    lab.until_good_read_by_asking(within=lab.recovery)
    _change_unread(lab, lab.vault.policy("scenario-writer", WRITES_ALONE))
    lab.judge(
        none_of(
            "the keys that it does not change are kept",
            {f"it is without {', '.join(sorted(lost))}"} if lost else (),
            harm=True,
            at=looked,
        ),
        none_of(
            "no change of another is lost",
            {"it is overwritten with what was there before"}
            if reads_first and found.get("theirs", "new") != "new"
            else (),
            harm=True,
            at=looked,
        ),
        none_of(
            "a change is made in spite of another, and said to be",
            {f"it ended {said.outcome if said else 'not at all'}, the key is {now}"}
            if said is None or said.failed or now != "new"
            else (),
            # No other writer could have undone it.
            harm=not reads_first and now == "old",
            at=looked,
        ),
        requests_at_most(3, "write", since=fault.began, until=changed, path=LEDGER),
        # For the lost token, and to see whether the denied role has a new policy.
        logins_at_most(2, since=fault.began),
    )


def _change_overtaken_twice(lab: Lab, pattern: str) -> None:
    """Let another writer write after the first and second read of one change.

    The change may fail, but each try has to check the version.
    """
    mine, theirs = canary(lab), ""
    with (
        lab.http.delay("read", path=pattern, first=2, by=0.2 * lab.deadline) as late,
        ThreadPoolExecutor(1) as caller,
    ):
        late.optional = True  # a client that lets Vault merge reads nothing
        change = caller.submit(lab.client.update, LEDGER, {"mine": mine})
        for number in (1, 2):
            lab.until(
                partial(_is_read_or_done, lab, change, number, since=late.began),
                within=lab.deadline,
            )
            if change.done():
                break
            theirs = f"overtakes-{number}-{token_hex(4)}"
            _write_theirs(lab, {**_ledger(lab), "theirs": theirs})
    looked, found = lab.history.now(), _ledger(lab)
    lost = {"a later try overwrote it"} if theirs and found.get("theirs") != theirs else ()
    lab.judge_later(none_of("no try of a change loses another one", lost, harm=True, at=looked))


def _is_read_or_done(lab: Lab, change: Future[Operation], number: int, *, since: float) -> bool:
    reads = lab.history.find("read", since=since, where=lambda e: e.path.endswith(LEDGER))
    answered = [read for read in reads if read.status is not None]
    return change.done() or bool(answered[number - 1 :])


def _two_change_at_once(lab: Lab, pattern: str) -> None:
    mine = {key: canary(lab).join(AT_ITS_ENDS) for key in ("mine", "ours")}
    with (
        lab.http.delay("read", path=pattern, by=0.1 * lab.deadline) as late,
        ThreadPoolExecutor(len(mine)) as callers,
    ):
        late.optional = True  # a client that lets Vault merge reads nothing
        changes = callers.map(lambda key: lab.client.update(LEDGER, {key: mine[key]}), mine)
        made = {key for key, change in zip(mine, changes, strict=True) if not change.failed}
    looked, found = lab.history.now(), _ledger(lab)
    lost = {key for key in made if found.get(key) != mine[key]}
    lab.judge_later(
        none_of(
            "of two changes at once each that is said to be made is made",
            {f"not there as it was given: {', '.join(sorted(lost))}"} if lost else (),
            harm=True,
            at=looked,
        )
    )


def _change_with_a_dead_token(lab: Lab) -> None:
    bound = min(0.1 * lab.ttl, 5.0)

    def late(change: Operation) -> bool:
        granted = bound + SLACK
        return change.began - lost.began > granted

    with lab.vault.token_revoked(lab.tokens.accessor()) as lost:
        change = lab.client.update(LEDGER, {"mine": canary(lab)})
        while change.failed and change.outcome != "died" and not late(change):
            lab.watch(0.2)
            change = lab.client.update(LEDGER, {"mine": canary(lab)})
    lost.optional = not change.failed  # the change may have used another token
    if change.failed:
        promise = f"a change is made within {bound:g} s of the loss of its token"
        text = f"it still ends {change.told}"
        lab.note(Finding(promise, text, lost.began, until=change.ended))


WRITES_ALONE = f'path "{MOUNT}/data/{LEDGER}" {{ capabilities = ["create", "update", "patch"] }}'


def _change_unread(lab: Lab, unread: AbstractContextManager[Fault]) -> None:
    """Change a key of an unreadable secret; no other key may be lost.

    The change may fail, or let Vault merge.
    """
    _write_theirs(lab, {**_ledger(lab), "theirs": f"newer-{token_hex(4)}"})
    before, mine = _ledger(lab), canary(lab)
    with unread as fault:
        change = lab.client.update(LEDGER, {"mine": mine})
        # A client that rests has not tried yet.
        while change.failed and change.outcome != "died" and not lab.touched(fault):
            if lab.history.now() > fault.began + lab.recovery:
                break
            lab.watch(0.2)
            change = lab.client.update(LEDGER, {"mine": mine})
    after = _ledger(lab)
    wrote = lab.history.find("write", since=fault.began, where=lambda e: e.path.endswith(LEDGER))
    fault.optional = bool(wrote) or not change.failed
    lost = {key for key, value in before.items() if key != "mine" and after.get(key) != value}
    lab.judge_later(
        none_of(
            "a change that cannot read its secret loses none of it",
            {f"it is without {', '.join(sorted(lost))}"} if lost else (),
            harm=True,
            at=change.began,
        ),
        none_of(
            "a change that is said to be made is made",
            {"it is not, the read of its secret failed"}
            if not change.failed and after.get("mine") != mine
            else (),
            harm=True,
            at=change.began,
        ),
    )


def _write_theirs(lab: Lab, data: Mapping[str, str]) -> None:
    kept = lab.stack.operator.client.secrets.kv.v2
    kept.create_or_update_secret(LEDGER, data, mount_point=lab.entry.mount)


def _ledger(lab: Lab) -> dict[str, str]:
    found: dict[str, str] = lab.stack.operator.client.secrets.kv.v2.read_secret_version(
        LEDGER, mount_point=lab.entry.mount, raise_on_deleted_version=True
    )["data"]["data"]
    return found


def _ledger_is_read(lab: Lab, *, since: float) -> bool:
    reads = lab.history.find("read", since=since, where=lambda e: e.path.endswith(LEDGER))
    return any(read.status is not None for read in reads)


def _is_merged(lab: Lab, *, since: float) -> bool:
    patches = lab.history.find("write", since=since, where=lambda e: e.method == "PATCH")
    return any(patch.good and patch.path.endswith(LEDGER) for patch in patches)


@pytest.mark.scenario("KV-06")
def test_torn_secret(lab: Lab) -> None:
    """A user and its password that rotate together are always read as one version."""
    allow_writes(lab, LEDGER)
    pair = ("username", "password")
    new = _rotate(lab, 1)
    client = lab.start()
    _refuse_longer("refresh", lab.refresh)
    stop, caller = threading.Event(), client.reserve_callers(1)

    def read_on() -> None:
        while not stop.wait(0.05):
            client.read_all(LEDGER, pair, caller=caller)

    asking = threading.Thread(target=read_on, name="whole reads", daemon=True)
    # Longer than the time between versions: a client that requests each key separately gets two.
    with lab.http.delay("read", path=f"*/data/{LEDGER}", by=0.2) as fault:
        asking.start()
        for number in range(2, 2 + VERSIONS):
            lab.watch(0.15)
            new = _rotate(lab, number)
        lab.hold(fault, 0.0)
    stop.set()
    asking.join(client.patience)
    last = client.read_all(LEDGER, pair)
    while not last.failed and last.value != new and _in_time(lab, last, fault.end):
        lab.watch(0.2)
        last = client.read_all(LEDGER, pair)
    lab.require(
        f"{VERSIONS} versions written while it reads",
        lambda history: sum(r.path == LEDGER for r in history.rotations) > VERSIONS,
    )
    changed, since = _changed_by_a_caller(client, pair), lab.history.now()
    calls = lab.history.calls("read_all")
    lab.judge(
        of_one_version(LEDGER),
        none_of(
            "a secret can be read as a whole while it is rotated",
            {f"a read ended {call.told}": call.began for call in reversed(calls) if call.failed},
        ),
        none_of(
            f"a rotated secret is seen within {lab.refresh:g} s",
            {f"the last read gave {last.value}"} if not last.failed and last.value != new else (),
            at=last.began,
        ),
        none_of("who changes what it was given changes it for nobody else", changed, at=since),
    )


def _changed_by_a_caller(client: Driver, keys: Collection[str]) -> set[str]:
    if not isinstance(client.subject, InProcessSubject):
        return set()
    with suppress(OperationFailed, SubjectError):
        client.subject.read_all_and_change_it(LEDGER, timeout=client.patience)
    after = client.read_all(LEDGER, keys)
    return {"read_all gives what a caller made of it"} if after.value == "unknown" else set()


def _rotate(lab: Lab, number: int) -> str:
    user = {"username": f"canary-user-{number}-{token_hex(12)}"}
    return lab.put(f"v{number}", path=LEDGER, key="password", also=user)


@pytest.mark.scenario("KV-05")
def test_wrong_mount_is_a_configuration_error(lab: Lab) -> None:
    """A wrong VAULT_MOUNT_POINT is reported as denied or missing, and costs few logins."""
    client = lab.open()
    if client is None:
        lab.require("a refusal to start", lambda history: history.operations[-1].failed)
        # A client may refuse before it asks for this mount.
        lab.require("an answer that there is no such mount, before that", _was_refused)
        lab.judge(
            at_most(2, len(lab.history.logins()), "logins"),
            steady=False,
            no_closing="it refused to start",
        )
        return
    since = 0.0
    with lab.condition("no such mount", statuses=frozenset({403, 404})) as fault:
        first = client.read()
        if first.outcome == "unavailable":
            # A client may have given up its first login.
            first.verb, since = "warm-up", lab.history.now()
        for _ in range(2):
            lab.watch(0.5)
            client.read()
        with lab.reading(every=1.0):
            lab.watch(2.5)
    lab.judge(
        fails_as("denied", "missing", path=PATH),
        # At the start, and to see whether the role has a new policy.
        logins_at_most(2, since=since),
        # A client that first asks for the mounts need not send a read.
        a_denial_costs_little(
            since=max(since, fault.began), path=PATH, logins=2, may_be_empty=True
        ),
        steady=False,
        no_closing="no secret is where it looks for them",
    )


def _was_refused(history: History) -> bool:
    return bool(history.find(where=lambda e: e.status in (403, 404)))


@pytest.mark.scenario("KV-07")
def test_changed_while_vault_is_away(lab: Lab) -> None:
    """A secret that was rotated or deleted while Vault was away is soon seen as new or deleted."""
    client = lab.start()
    if lab.leaves("file"):
        raise NotClaimed("what is in a file stays there in an outage, and cannot be marked as old")
    _refuse_longer("refresh", lab.refresh)
    # Each way has its own secret: a plain read would refresh the cache.
    rotated = {verb: own_path(lab, PATH, verb) for verb in all_read_verbs(lab)}
    deleted = {verb: own_path(lab, "backend/deleted", verb) for verb in rotated}
    verbs = all_read_verbs(lab)
    for verb in verbs:
        for path in (rotated[verb], deleted[verb]):
            if path != PATH:
                lab.put("v1", path=path, key=KEY)
            lab.require(f"a value of {path} before the outage", _held(client.ask(verb, path, KEY)))
    with ExitStack() as callers:
        # A cache may refresh only when it is asked.
        for verb in verbs:
            for path in (rotated[verb], deleted[verb]):
                callers.enter_context(reading(client, every=0.5, verb=verb, path=path, key=KEY))
        lab.watch(0.5)
        # Connections are accepted before they end, which shows the tries of a client that answers
        # from memory.
        with vault_gone(lab) as fault:
            for verb in verbs:
                lab.put("v2", path=rotated[verb], key=KEY)
                lab.delete(deleted[verb])
            lab.hold(fault, max(3.0, lab.refresh + BEYOND_REFRESH))
            with lab.network.down() as refused:
                refused.optional = True  # a client may answer from memory
                lab.watch(REFUSED)
        lab.recovers(after=fault, path=PATH)
        within = lab.recovery_after(fault) + lab.refresh
        for verb in verbs:
            _is_gone(lab, deleted[verb], verb, since=fault.end, within=within)

        def all_have_the_new() -> bool:
            calls = lab.history.calls(*verbs, since=fault.end)
            new = {(call.verb, call.path) for call in calls if call.value == _second(call.path)}
            return all((verb, rotated[verb]) in new for verb in verbs)

        _watch_past(lab, all_have_the_new, since=fault.end, within=within)
    lab.judge(
        *(
            sees(_second(path), path, since=fault.end, within=within, verb=verb)
            for verb in verbs
            for path in [rotated[verb]]
        )
    )


def _second(path: str) -> str:
    return "v2" if path == PATH else f"{path}:v2"


def _watch_past(lab: Lab, seen: Callable[[], bool], *, since: float, within: float) -> None:
    def left() -> float:
        now = lab.history.now()
        return since + within + LATE_BY_FAR + SLACK - now

    while lab.client.subject.is_alive() and not lab.until(seen, within=max(0.0, left())):
        if left() < 0:
            break


def _is_gone(lab: Lab, path: str, verb: ReadVerb, *, since: float, within: float) -> None:
    def told() -> list[Operation]:
        calls = lab.history.calls(verb, since=since, where=lambda call: call.path == path)
        return [call for call in calls if _says_gone(lab.history, call, since=since)]

    _watch_past(lab, lambda: bool(told()), since=since, within=within)
    first = next(iter(told()), None)
    at = first.began if first else lab.history.now()
    over = at - since - within - SLACK
    if over > 0:
        promise = f"a secret deleted in an outage is gone within {within:g} s of its end"
        text = f"{verb} tells so {at - since:.2f} s after it"
        if first is None:
            calls = lab.history.calls(verb, since=since, where=lambda call: call.path == path)
            ended = {call.value or call.outcome or "in nothing" for call in calls}
            text = f"{verb} does not tell so for {at - since:.2f} s: {', '.join(sorted(ended))}"
        never = first is None
        missed = None if never else over
        lab.note(Finding(promise, text, since, missed=missed, until=at))


def _says_gone(history: History, call: Operation, *, since: float) -> bool:
    """Return whether a call reports its secret as gone.

    An unclassified failure counts only after Vault told of the deletion.
    """
    if call.outcome in ("deleted", "missing", "died"):
        return True
    return call.outcome == "error" and bool(
        history.find(
            "read",
            since=since,
            until=call.ended,
            where=lambda e: e.status == 404 and e.path.endswith(call.path),
        )
    )
