"""Secrets and caches: rotated, outdated, deleted, and where there are none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from secrets import randbelow, token_hex

import pytest

from vault_harness.errors import SubjectError
from vault_harness.faults import Fault
from vault_harness.scenario import Condition, Finding, History, Lab, NotClaimed, NotExercised
from vault_harness.scenario.driver import Driver, Way, reading
from vault_harness.scenario.helpers import (
    allow_writes,
    canary,
    every_way,
    has_its_files,
    vault_gone,
    version_of,
    ways,
)
from vault_harness.scenario.lab import KEY, MOUNT, PATH
from vault_harness.scenario.observations import GONE, Operation
from vault_harness.scenario.oracles import (
    a_denial_costs_little,
    fails_as,
    logins_at_most,
    no_failed_read,
    none_of,
    of_one_version,
    requests_a_call_at_most,
    requests_at_most,
    sees,
)
from vault_harness.subjects import InProcessSubject, OperationFailed

LEDGER = "backend/ledger"

NO_SUCH_KEY = "NO_SUCH_KEY"
"""What no secret has."""

NAMESAKE = "shared/celery"
"""Another secret than the one that KV-03 deletes, which is called so too."""

LATE = "backend/late"
"""A secret that is missing when it is first asked for."""

PAIR, TAKEN_OUT = "backend/pair", "CELERY_PASSWORD"
"""A secret of two keys, and the one of them that is taken out of it."""

EMPTY, PADDED = "NOTES", "TLS_KEY"
"""Further keys of it: of a value with nothing in it, and of one with blanks and a line's end."""

REBORN = "backend/data/ecommerce/jobs of today"
"""A secret that is removed with all its versions and written anew, as version 1 once more. Its
folders are called as parts of an address are that belong to Vault: the mount, and `data`. It has
blanks in its name, which an address cannot have as they are, and a form writes otherwise.
"""

SPELLED = tuple(f"backend/{name}" for name in ("odd", "Odd", "odd x", "odd+x", "odd-\u00fc"))
"""Secrets of which none is another, whatever a library makes of their names."""

REFUSABLE = tuple(f"backend/{name}" for name in ("odd?x", "odd#x", "odd%3Fx"))
"""The same of names that mean something in an address: a client may have none of them."""

RETIRED = "backend/retired"
"""A secret whose version is destroyed without having been deleted first."""

KEPT = {"note": "", "certificate": '-----BEGIN-----\n"Gr\u00fc\u00dfe" \\ 100 %\n-----END-----\n'}
"""What else is in the secret of which one key is changed: nothing, and several lines."""

AT_ITS_ENDS = ("\n ", " \n")
"""What a value that is changed begins and ends with, as what is made from a file may."""

VERSIONS = 16
"""How often the pair of KV-06 is rotated under reads."""

LATE_BY_FAR = 2.0
"""Seconds past a bound in which it is seen by how much a client is late."""

OLD_BY_THEN = 2.0
"""Seconds beyond R for which Vault is away in KV-07: what was kept is wrong then, unless marked."""

REFUSED = 1.2
"""Seconds of that outage in which connections are refused at last: two calls of each way."""

LONGEST = 30.0
"""A declared refresh or max_stale beyond this would make a scenario wait for too long."""


def _refuse_longer(
    name: str, seconds: float, refusal: type[NotClaimed | NotExercised] = NotExercised
) -> None:
    """Leave a scenario that would take too long.

    Raises:
        NotExercised: It is so. A time narrows no promise, as a capability does that is not claimed.
        NotClaimed: The same, where nobody need declare that time.
    """
    if seconds > LONGEST:
        raise refusal(
            f"it declares {name} of {seconds:g} s; configure it with at most {LONGEST:g} s"
        )


def _held(read: Operation) -> Condition:
    """Demand that a read gave a value, which a cache may hold from then on."""
    return lambda _: read.good


def _in_time(lab: Lab, call: Operation, since: float) -> bool:
    """Whether a call began while what was so before `since` may still be remembered."""
    return call.began <= since + lab.refresh + lab.history.slack(since, call.began)


@pytest.mark.scenario("KV-01")
def test_rotated_secret_is_seen(lab: Lab) -> None:
    """A new version is written while callers read, from the cache too where there is one."""
    client = lab.start()
    _refuse_longer("refresh", lab.refresh)
    for number, verb in enumerate(ways(lab), start=2):
        # One way of reading at a time: a plain read must not freshen what the cache would serve.
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
            over = seen.began - late - lab.history.slack(changed, seen.began)
            if over > 0:
                text = f"{verb} still gives {seen.value} {seen.began - changed:.2f} s after it"
                lab.note(Finding(promise, text, seen.began, missed=over, until=seen.began))
    lab.judge(no_failed_read())


@pytest.mark.scenario("KV-02")
def test_stale_values_have_an_end(lab: Lab) -> None:
    """Vault is sealed for longer than max_stale, and refuses connections for most of that."""
    client = lab.start()
    limit = lab.declared("max_stale", 0.0)
    _refuse_longer("max_stale", limit, NotClaimed)
    _refuse_longer("refresh", lab.refresh)
    longest = max(limit, lab.refresh)  # an unmarked value may be as old as R, whatever is declared
    # By these nobody has to serve an old value; none may serve one once max_stale is over.
    others: list[Callable[[], Operation]] = [client.read]
    if lab.can("read_all"):
        others.append(partial(client.read_all, lab.entry.path, (lab.entry.key,)))
    client.read(verb="read_cached")
    for read in others:
        read()
    # One outage, so that one max_stale passes; a client may take a refusal for another thing than a
    # seal, so that it has to serve the value, and to end with that, in both.
    with lab.vault.sealed() as fault:

        def ask_until(end: float, met: Callable[[], bool] = lambda: False) -> None:
            while True:
                call = client.read(verb="read_cached")
                _judge_age(lab, call, _age(call, fault), limit)
                if call.outcome == "died" or lab.history.now() > end or met():
                    return
                lab.watch(0.3)

        ask_until(fault.began + (limit - lab.refresh) / 2)
        with lab.network.down() as gone:
            # A call that began at its end may take its deadline, and is no excess by that.
            ask_until(fault.began + longest + max(3.0, lab.deadline + 1.0))
            with ThreadPoolExecutor(len(others)) as callers:
                for late in callers.map(lambda read: read(), others):
                    _judge_excess(lab, late, _age(late, fault), longest)
        # Who pauses does not know yet that it is a seal again.
        ask_until(gone.end + lab.reach, lambda: _meets_a_seal(lab, since=gone.end))
        if lab.can("health") and client.healthy():
            lab.note(
                Finding("health tells the truth", "it says well in an outage", lab.history.now())
            )
    lab.judge()


def _meets_a_seal(lab: Lab, *, since: float) -> bool:
    """Whether a read was answered by a Vault that is sealed, after `since`."""
    return bool(lab.history.find("read", since=since, where=lambda e: e.status == 503))


def _age(call: Operation, fault: Fault) -> float:
    """For how many seconds an outage has lasted at the end of a call."""
    return (call.ended or call.began) - fault.began


def _judge_age(lab: Lab, call: Operation, age: float, limit: float) -> None:
    """Judge one read from the cache in an outage that has lasted for `age` seconds at its end."""
    slack = lab.history.slack(call.began, call.began + age)
    # What it served may have been as old as R when the outage began.
    if call.failed and age < limit - lab.refresh - slack:
        text = f"a read failed {age:.2f} s into the outage as {call.outcome}"
        lab.note(Finding(f"the last good value is served for {limit:g} s", text, call.began))
    _judge_excess(lab, call, age, max(limit, lab.refresh))


def _judge_excess(lab: Lab, call: Operation, age: float, limit: float) -> None:
    """Judge whether one read, in whatever way, gives a value that is too old by then."""
    slack = lab.history.slack(call.began, call.began + age)
    over = age - limit - lab.deadline - slack
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
    """Missing, written; a key taken out; deleted, undeleted, destroyed, anew; in each way."""
    client = lab.start()
    if lab.leaves("file"):
        raise NotClaimed("it leaves the file of a secret that is deleted, as it says")
    _refuse_longer("refresh", lab.refresh)
    kv = lab.stack.operator.client.secrets.kv.v2
    path, key = "backend/celery", "CELERY_BROKER_URL"
    lab.put("v1", path=path, key=key)
    lab.put("v1", path=NAMESAKE, key=key)
    for way in ways(lab):
        _judge_absence(lab, client.read(path, NO_SUCH_KEY, verb=way))
    verbs = every_way(lab)
    for verb in verbs:
        # The same key, and the same last part of the path: no cache may take one for the other.
        for one, name in ((path, "a value before it was deleted"), (NAMESAKE, "its namesake's")):
            lab.require(f"{name} ({verb})", _held(client.ask(verb, one, key)))

    _read_what_is_spelled_alike(lab, key, verbs)
    taken_out = _read_a_pair(lab, key, verbs)
    written = _read_before_it_is_written(lab, LATE, key, verbs)
    anew = _begins_anew(lab, key, verbs)
    retired = _is_destroyed_at_once(lab, key, verbs)

    def gone(wanted: str, where: str = path) -> None:
        since = lab.history.now()
        for verb in verbs:
            call = client.ask(verb, where, key)
            # That it was deleted is remembered for as long as a value may be, and nothing else is.
            while (
                not call.failed or (wanted, call.outcome) == ("missing", "deleted")
            ) and _in_time(lab, call, since):
                lab.watch(0.3)
                call = client.ask(verb, where, key)
            promise = f"a {wanted} secret is reported as {wanted}"
            if not call.failed:
                text = f"{verb} still gives {call.value} after {lab.refresh:g} s"
                lab.note(Finding(promise, text, call.began))
            elif call.outcome not in ("error", wanted):
                text = f"it was reported as {call.told} ({verb})"
                lab.note(Finding(promise, text, call.began))

    for both in (path, NAMESAKE):
        lab.delete(both)
    for one in (path, NAMESAKE, *retired):
        gone("deleted", one)
    # Undeleted before the other one is destroyed: what is waited for there is waited for here too.
    with lab.changing("v1", path=NAMESAKE, key=key):
        kv.undelete_secret_versions(NAMESAKE, [version_of(lab, NAMESAKE)], mount_point="ecommerce")
    undeleted = lab.history.now()
    kv.destroy_secret_versions(path, [1, 2], mount_point="ecommerce")
    gone("deleted")
    kv.delete_metadata_and_all_versions(path, mount_point="ecommerce")
    gone("missing")
    _is_there(lab, "is undeleted", (NAMESAKE, key), verbs, since=undeleted)
    _is_there(lab, "was missing", (LATE, key), verbs, since=written)
    _is_taken_out(lab, key, verbs, since=taken_out)
    _is_the_new_one(lab, REBORN, key, verbs, since=anew)
    lab.needs_outcomes()
    client.read()
    lab.judge(no_failed_read(path=PATH))


def _read_what_is_spelled_alike(lab: Lab, key: str, verbs: Collection[Way]) -> None:
    """Have secrets read in each way whose paths a client may take for one another.

    That no value is another one's is asked everywhere. Who renders files has those that it was
    configured to have.
    """
    if has_its_files(lab):
        return
    for path in (*SPELLED, *REFUSABLE):
        lab.put("v1", path=path, key=key)
    since = lab.history.now()
    for verb in verbs:  # one way at a time: a plain read may put right what a cache has
        for path in (*SPELLED, *REFUSABLE):
            lab.client.ask(verb, path, key)
    for path in SPELLED:
        lab.judge_later(no_failed_read(path=path, since=since, until=lab.history.now()))


def _read_a_pair(lab: Lab, key: str, verbs: Collection[Way]) -> float | None:
    """Have both keys of a secret read, at once and one after the other, and take one out of it.

    The value of that one is not all ASCII: it is in no file, in no variable, and in Vault alone. So
    are that of a third key, which is empty, and that of a fourth, which ends with a line's end, as
    a key of PEM does, and those that look like something else, or that JSON spells otherwise. Vault
    is to delete that version in an hour, and says when: by then it is there.

    Returns:
        When it was taken out; None for a program that renders files, as below.
    """
    if has_its_files(lab):
        return None
    value = f"canary-v1-Gr\u00fc\u00dfe-{token_hex(12)}"
    padded = f" canary-v1-{token_hex(12)} \n"
    others = {TAKEN_OUT: value, EMPTY: "", PADDED: padded, **_look_like_something_else()}
    kv = lab.stack.operator.client.secrets.kv.v2
    kv.update_metadata(PAIR, delete_version_after="1h", mount_point=lab.entry.mount)
    lab.put("v1", path=PAIR, key=key, also=others)
    if lab.can("read_all"):
        lab.client.read_all(PATH, (KEY,))  # what is in it is in no other secret
    since = lab.history.now()
    with ExitStack() as callers:
        # Two for each: who asks once for all that ask at once must not give one the other's value.
        for way in ways(lab):
            for one in (key, TAKEN_OUT):
                callers.enter_context(
                    lab.reading(every=0.05, callers=2, verb=way, path=PAIR, key=one)
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


def _look_like_something_else() -> dict[str, str]:
    """Keys that look like a way to others, or like one, and values like a number, or a template.

    KV version 2 itself calls what is in a secret `data`, and Kubernetes calls a certificate so. All
    of them are texts, and nothing in them means anything.
    """
    return {
        TAKEN_OUT.lower(): f"canary-lower-{token_hex(12)}",
        "data": f"canary-data-{token_hex(12)}",
        "tls.crt": f"canary-crt-{token_hex(12)}",
        # So long that it is in no time or number of a log by chance: that would be a leak.
        "PIN": f"00{randbelow(10**24):024d}",
        "TEMPLATE": f"canary-${{HOME}}-%(key)s-{{{{key}}}}-{token_hex(12)}",
        # Vault writes the first three of these as backslash, u and four digits, as Go does; the
        # last letter is beyond 16 bits.
        "LETTERS": f"canary-<b>&amp;\U0001f511-{token_hex(12)}",
    }


def _is_taken_out(lab: Lab, key: str, verbs: Collection[Way], *, since: float | None) -> None:
    """Demand in each of these ways that a key is missing which was taken out, if one was.

    That it was there is remembered for as long as a value may be.
    """
    if since is None:
        return

    def ask(verb: Way) -> Operation:
        if verb == "read_all":
            return lab.client.read_all(PAIR, (key,), without=(TAKEN_OUT, KEY))
        return lab.client.read(PAIR, TAKEN_OUT, verb=verb)

    def is_there(call: Operation) -> bool:
        """Whether it gives anything but the one key that is left, such as another secret's."""
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
    lab: Lab, path: str, key: str, verbs: Collection[Way]
) -> float | None:
    """Have a secret read that is missing, in each of these ways, and write it.

    Returns:
        When it was written; None for a program that renders files, which has those that it was
        configured to have.
    """
    if has_its_files(lab):
        return None
    since = lab.history.now()
    for verb in verbs:
        _judge_absence(lab, lab.client.ask(verb, path, key))
    # Vault has answered: that is no outage, which somebody waits out within a call.
    lab.judge_later(
        requests_a_call_at_most(2, "read", since=since, until=lab.history.now(), path=path)
    )
    lab.put("v1", path=path, key=key)
    return lab.history.now()


def _read_at_first(lab: Lab, path: str, key: str, verbs: Collection[Way]) -> None:
    """Write a secret, and have it read in each of these ways: none of these reads may fail."""
    lab.put("v1", path=path, key=key)
    since = lab.history.now()
    for verb in verbs:
        held = lab.client.ask(verb, path, key)
        lab.require(f"a value of {path} before it went ({verb})", _held(held))
    lab.judge_later(no_failed_read(path=path, since=since, until=lab.history.now()))


@contextmanager
def _going(lab: Lab, path: str) -> Iterator[None]:
    """Let an operator take a secret away in a way of his own: no value of it is right from then."""
    change = lab.history.note_rotation(path, GONE)
    yield
    lab.history.end_rotation(change)


def _begins_anew(lab: Lab, key: str, verbs: Collection[Way]) -> float | None:
    """Have a secret read, remove it with all its versions, and write it anew.

    Whoever looks at nothing but the number of its version takes the new one for what it has.

    Returns:
        When it was written anew; None for a program that renders files, as above.
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
    lab: Lab, path: str, key: str, verbs: Collection[Way], *, since: float | None
) -> None:
    """Demand in each of these ways what a secret is since it was written anew, if it was.

    What it was before, and that it was away, is remembered for as long as a value may be.
    """
    if since is None:
        return
    for verb in verbs:
        call = lab.client.ask(verb, path, key)
        while call.value != f"{path}:v2" and call.outcome != "died" and _in_time(lab, call, since):
            lab.watch(0.3)
            call = lab.client.ask(verb, path, key)
        if call.value != f"{path}:v2":
            promise = f"a secret that is removed and written anew is seen within {lab.refresh:g} s"
            text = f"{verb} still gives {call.value or call.told}"
            lab.note(Finding(promise, text, since, until=call.began, lacks=True))


def _is_destroyed_at_once(lab: Lab, key: str, verbs: Collection[Way]) -> list[str]:
    """Have a secret read, and destroy its version, of which Vault tells no date as of a deletion.

    Returns:
        Its path; none for a program that renders files, as above.
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
    lab: Lab, what: str, where: tuple[str, str], verbs: Collection[Way], *, since: float | None
) -> None:
    """Demand in each of these ways a secret that was not there until then, if it is by now.

    That it was away is remembered for as long as a value may be.
    """
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
            lab.note(Finding(promise, text, since, until=call.began, lacks=True))


def _judge_absence(lab: Lab, call: Operation) -> None:
    """Judge a read of a key that a secret has not got, or no secret: no value, and no outage."""
    promise = "what is not there is reported as missing"
    if not call.failed:
        text = f"{call.verb} gives a value that nobody ever wrote"
        lab.note(Finding(promise, text, call.began, harm=True))
    elif call.outcome not in ("error", "missing"):
        text = f"it was reported as {call.told} ({call.verb})"
        lab.note(Finding(promise, text, call.began))


@pytest.mark.scenario("KV-04")
def test_lost_update(lab: Lab) -> None:
    """Another writer comes between read and write; a token is lost; reads fail, by 500, by 403."""
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
        # Who has Vault merge its change has nothing of another's in hand that it could lose.
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
    _two_change_at_once(lab, pattern)
    _change_with_a_dead_token(lab)
    _change_unread(lab, lab.http.fail("read", path=pattern, status=500))
    lab.until_good_read_by_asking(within=lab.recovery)
    _change_unread(lab, lab.vault.policy("scenario-writer", WRITES_ALONE))
    lab.judge(
        # Also where it has read nothing, and so met no other writer: then it has done this alone.
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
            # No other writer was there who could have undone what was said to be done.
            harm=not reads_first and now == "old",
            at=looked,
        ),
        requests_at_most(3, "write", since=fault.began, until=changed, path=LEDGER),
        # One for the token that was lost, and one that shows whether the denied role has more.
        logins_at_most(2, since=fault.began, due=0.3),
    )


def _two_change_at_once(lab: Lab, pattern: str) -> None:
    """Have two callers change a key each, from one and the same version: neither is lost unsaid."""
    mine = {key: canary(lab).join(AT_ITS_ENDS) for key in ("mine", "ours")}
    with (
        lab.http.delay("read", path=pattern, by=0.1 * lab.deadline) as late,
        ThreadPoolExecutor(len(mine)) as callers,
    ):
        late.optional = True  # who has Vault merge its change reads nothing
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
    """Have a key changed until that works, by a client whose token is lost, and that reads nothing.

    The first may end in vain: what is asked is that a change, too, finds out that it needs a login.
    """
    bound = min(0.1 * lab.ttl, 5.0)

    def late(change: Operation) -> bool:
        granted = bound + lab.history.slack(lost.began, change.began)
        return change.began - lost.began > granted

    with lab.vault.token_revoked(lab.accessor()) as lost:
        change = lab.client.update(LEDGER, {"mine": canary(lab)})
        while change.failed and change.outcome != "died" and not late(change):
            lab.watch(0.2)
            change = lab.client.update(LEDGER, {"mine": canary(lab)})
    lost.optional = not change.failed  # whoever changes it without that token has not met its end
    if change.failed:
        promise = f"a change is made within {bound:g} s of the loss of its token"
        text = f"it still ends {change.told}"
        lab.note(Finding(promise, text, lost.began, until=change.ended, lacks=True))


WRITES_ALONE = f'path "{MOUNT}/data/{LEDGER}" {{ capabilities = ["create", "update", "patch"] }}'
"""What `allow_writes` lets a token do, without the right to read."""


def _change_unread(lab: Lab, unread: AbstractContextManager[Fault]) -> None:
    """Have a key changed while it cannot read the secret: who knows no other key must not write.

    It may fail. Who has Vault merge its change, or checks that what it has kept is what is there,
    needs no read. What it has kept is not: another one has written since.
    """
    _write_theirs(lab, {**_ledger(lab), "theirs": f"newer-{token_hex(4)}"})
    before, mine = _ledger(lab), canary(lab)
    with unread as fault:
        change = lab.client.update(LEDGER, {"mine": mine})
        # Who rests after a failure has not tried yet.
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
    """Have another one write the secret."""
    kept = lab.stack.operator.client.secrets.kv.v2
    kept.create_or_update_secret(LEDGER, data, mount_point=lab.entry.mount)


def _ledger(lab: Lab) -> dict[str, str]:
    """What Vault has of it now."""
    found: dict[str, str] = lab.stack.operator.client.secrets.kv.v2.read_secret_version(
        LEDGER, mount_point=lab.entry.mount, raise_on_deleted_version=True
    )["data"]["data"]
    return found


def _ledger_is_read(lab: Lab, *, since: float) -> bool:
    """Whether Vault has answered a read of it; the answer may be on its way for long."""
    reads = lab.history.find("read", since=since, where=lambda e: e.path.endswith(LEDGER))
    return any(read.status is not None for read in reads)


def _is_merged(lab: Lab, *, since: float) -> bool:
    """Whether Vault has taken a change of it alone (PATCH)."""
    patches = lab.history.find("write", since=since, where=lambda e: e.method == "PATCH")
    return any(patch.good and patch.path.endswith(LEDGER) for patch in patches)


@pytest.mark.scenario("KV-06")
def test_torn_secret(lab: Lab) -> None:
    """A user and a password are rotated together, while callers read both; one changes its own."""
    allow_writes(lab, LEDGER)  # which lets the role read it too
    pair = ("username", "password")
    new = _rotate(lab, 1)
    client = lab.start()
    _refuse_longer("refresh", lab.refresh)
    stop, caller = threading.Event(), client.reserve_callers(1)

    def read_on() -> None:
        while not stop.wait(0.05):
            client.read_all(LEDGER, pair, caller=caller)

    asking = threading.Thread(target=read_on, name="whole reads", daemon=True)
    # Who asks for one key after the other is still waiting for the first when the next version is
    # there: an answer takes longer than it is from one version to the next.
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
            # The first of each kind tells when.
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
    """Have a caller change all of a secret that it was given; what others are given of that.

    It is the caller's own, as a template's that takes a key out of it. A program's answer is so
    in any case.
    """
    if not isinstance(client.subject, InProcessSubject):
        return set()
    with suppress(OperationFailed, SubjectError):
        client.subject.read_all_and_change_it(LEDGER, timeout=client.patience)
    after = client.read_all(LEDGER, keys)
    return {"read_all gives what a caller made of it"} if after.value == "unknown" else set()


def _rotate(lab: Lab, number: int) -> str:
    """Write both halves of the pair anew; the label of that version."""
    user = {"username": f"canary-user-{number}-{token_hex(12)}"}
    return lab.put(f"v{number}", path=LEDGER, key="password", also=user)


@pytest.mark.scenario("KV-05")
def test_wrong_mount_is_a_configuration_error(lab: Lab) -> None:
    """VAULT_MOUNT_POINT names no mount; the subject is asked three times, then once each second."""
    client = lab.open()
    if client is None:
        # It refused to start, which is an answer too.
        lab.require("a refusal to start", lambda history: history.operations[-1].failed)
        # Who starts with no mount at all was not told anything of this one.
        lab.require("an answer that there is no such mount, before that", _was_refused)
        lab.judge(logins_at_most(2), steady=False, no_closing="it refused to start")
        return
    since = 0.0
    with lab.condition("no such mount", statuses=frozenset({403, 404})) as fault:
        first = client.read()
        if first.outcome == "unavailable":
            # Nobody promised that it is ready at once; a login that it gave up was in vain.
            first.verb, since = "warm-up", lab.history.now()
        for _ in range(2):
            lab.watch(0.5)
            client.read()
        with lab.reading(every=1.0):
            lab.watch(2.5)
    lab.judge(
        fails_as("denied", "missing", path=PATH),
        # One to begin with, and one to see whether the role has got a policy meanwhile.
        logins_at_most(2, since=since),
        # Who asks first which mounts there are is told enough, and sends no read.
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
    """One secret is rotated and another one deleted while Vault is gone behind its proxy."""
    client = lab.start()
    if lab.leaves("file"):
        raise NotClaimed("what is in a file stays there in an outage, and cannot be marked as old")
    _refuse_longer("refresh", lab.refresh)
    path, key = "backend/celery", "CELERY_BROKER_URL"
    verbs = every_way(lab)
    lab.put("v1", path=path, key=key)
    for verb in verbs:
        held = client.ask(verb, path, key)
        lab.require(f"a value before the outage ({verb})", _held(held))
    with ExitStack() as callers:
        # In each way: a cache that asks only when it is asked has to miss its refresh too.
        for verb in verbs:
            callers.enter_context(reading(client, every=0.5, verb=verb))
            callers.enter_context(reading(client, every=0.5, verb=verb, path=path, key=key))
        lab.watch(0.5)
        # Not refused, which leaves no witness: who answers from memory is seen to meet it so.
        with vault_gone(lab) as fault:
            lab.put("v2")
            lab.delete(path)
            # By its end what a memory has of them is too old to be given as if it were fresh.
            lab.hold(fault, max(3.0, lab.refresh + OLD_BY_THEN))
            with lab.network.down() as refused:
                refused.optional = True  # who answers from memory need not meet that as well
                lab.watch(REFUSED)
        lab.recovers(after=fault, path=PATH)
        within = lab.recovery_after(fault) + lab.refresh
        for verb in verbs:
            _is_gone(lab, path, verb, since=fault.end, within=within)

        def all_have_the_new() -> bool:
            calls = lab.history.calls(*verbs, since=fault.end, where=lambda call: call.path == PATH)
            return {call.verb for call in calls if call.value == "v2"} == set(verbs)

        _watch_past(lab, all_have_the_new, since=fault.end, within=within)
    lab.judge(*(sees("v2", PATH, since=fault.end, within=within, verb=verb) for verb in verbs))


def _watch_past(lab: Lab, seen: Callable[[], bool], *, since: float, within: float) -> None:
    """Wait for what must be so by then, or until it is late by far, slack and all."""

    def left() -> float:
        now = lab.history.now()
        return since + within + LATE_BY_FAR + lab.history.slack(since, now) - now

    while lab.client.subject.is_alive() and not lab.until(seen, within=max(0.0, left())):
        if left() < 0:
            break


def _is_gone(lab: Lab, path: str, verb: Way, *, since: float, within: float) -> None:
    """Wait until callers are told that a secret is deleted, or the client is late by far."""

    def told() -> list[Operation]:
        calls = lab.history.calls(verb, since=since, where=lambda call: call.path == path)
        return [call for call in calls if _says_gone(lab.history, call, since=since)]

    _watch_past(lab, lambda: bool(told()), since=since, within=within)
    first = next(iter(told()), None)
    at = first.began if first else lab.history.now()
    over = at - since - within - lab.history.slack(since, at)
    if over > 0:
        promise = f"a secret deleted in an outage is gone within {within:g} s of its end"
        text = f"{verb} tells so {at - since:.2f} s after it"
        if first is None:
            calls = lab.history.calls(verb, since=since, where=lambda call: call.path == path)
            ended = {call.value or call.outcome or "in nothing" for call in calls}
            text = f"{verb} does not tell so for {at - since:.2f} s: {', '.join(sorted(ended))}"
        never = first is None
        missed = None if never else over
        lab.note(Finding(promise, text, since, missed=missed, until=at, lacks=never))


def _says_gone(history: History, call: Operation, *, since: float) -> bool:
    """Whether a call tells that its secret is gone, as far as the client tells one from another.

    Of a failure without a name it is known only where Vault had told it to the client by then.
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
