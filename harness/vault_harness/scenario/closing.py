"""The closing act: what every scenario ends with, so that what is promised always is always asked.

A value is rotated and must be seen, another secret is deleted and must be gone, who can write does,
the client says of its health what is so, and is closed; after that its tokens must be dead. It
finds nothing that a client did not have: an act whose own conditions were not met makes a scenario
``not exercised``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from secrets import token_hex

from vault_harness.faults import Fault
from vault_harness.scenario._asking import Asking
from vault_harness.scenario._servers import WRITTEN
from vault_harness.scenario.conditions import Sighting
from vault_harness.scenario.driver import Driver, Way
from vault_harness.scenario.history import History
from vault_harness.scenario.observations import Exchange, Operation
from vault_harness.scenario.oracles import HANDOVER, INSTEAD
from vault_harness.scenario.oracles.standing import NEWS
from vault_harness.scenario.verdict import Finding

LABEL = "closing"
"""Label of the value that the act writes."""

ACT = "the closing act"
"""How the report names it."""

CLOSE_WITHIN = 5.0
"""Seconds that the clean end may take while nothing is broken."""

LATE = 1.0
"""Seconds after the last good read before the act in which what a client does late is seen."""

PAUSE = 0.1
"""Seconds between two reads while a change is awaited."""

IN_A_ROW = 6
"""Good reads that follow each other, in each way: half of a pool that is dead shows in no first."""


def closing_act(lab: Asking, *, no_health: str = "", open_until: float = 0.0) -> None:
    """Carry out the act; what it finds is noted in the lab, and what it rests on is required.

    Args:
        lab: The scenario.
        no_health: Why the subject is not asked how it is.
        open_until: When it may be closed: until then it is watched.
    """
    ways: list[Way] = ["read", "read_cached"] if lab.can("cached") else ["read"]
    if lab.can("read_all"):
        ways.append("read_all")  # often a second piece of code, and all that some ask for
    client = lab.client
    lab.history.mark("closing act")
    steady = _rotated_and_deleted(lab, client, ways)
    if steady and lab.can("write") and lab.may_write:
        _written(lab, client)
    if no_health:
        lab.history.mark(f"not asked for its health: {no_health}")
    elif lab.can("health"):
        _healthy(lab, client)
    lab.watch(max(0.0, open_until - lab.history.now()))
    _closed(lab)


def _rotated_and_deleted(lab: Asking, client: Driver, ways: Sequence[Way]) -> bool:
    """One value is new, another is gone, and both are seen within the refresh time, in each way.

    Returns:
        Whether both could be read before.
    """
    entry, since = lab.entry, lab.history.now()
    before = [_read_on(lab, client, way, since) for way in ways]
    steady, begun = all(call.good for call in before), lab.history.now()
    spare = [_read_at_last(lab, client, way, begun) for way in ways] if steady else []
    _require(
        lab,
        "both secrets had been read",
        all(call.good for call in (*before, *spare)),
        ", ".join(f"{o.verb} of {o.path} ended {o.outcome}" for o in (*before, *spare)),
    )
    if not steady:
        lab.note(_not_steady(next(call for call in before if not call.good), since))
        return False
    if not all(call.good for call in spare):
        lab.note(_not_read(next(call for call in spare if not call.good), begun))
        return False
    lab.put(LABEL)
    lab.delete(entry.spare_path)
    changed = lab.history.now()
    for way in ways:
        _see_the_new(lab, client, way, changed)
    if lab.leaves("file"):
        lab.history.mark("what is deleted is not asked for: it leaves files behind, as it says")
        return True
    for way in ways:
        _see_it_gone(lab, client, way, changed)
    return True


def _see_the_new(lab: Asking, client: Driver, way: Way, changed: float) -> None:
    def new(call: Operation) -> bool:
        return call.value == LABEL

    last, late = _until(lab, lambda: client.ask(way), new, since=changed)
    if late or not new(last):
        promise = f"a rotated secret is seen within {lab.refresh:g} s"
        lab.note(_late(lab, promise, way, last, changed, came=new(last)))


def _see_it_gone(lab: Asking, client: Driver, way: Way, changed: float) -> None:
    path, key = lab.entry.spare_path, lab.entry.spare_key

    def gone(call: Operation) -> bool:
        return call.failed

    last, late = _until(lab, lambda: client.ask(way, path, key), gone, since=changed)
    if late or not gone(last):
        promise = f"a deleted secret is gone within {lab.refresh:g} s"
        lab.note(_late(lab, promise, way, last, changed, came=gone(last)))
    elif last.outcome not in ("error", "deleted", "missing"):
        promise = "a deleted secret is reported as deleted or missing"
        text = f"as {last.told}"
        lab.note(Finding(promise, text, last.began, rests_on=()))


def _read_on(lab: Asking, client: Driver, way: Way, since: float) -> Operation:
    """Read until good ones have followed each other so often; the last one, good or not.

    One good read shows that there is a way to Vault: another one may be dead, and be tried in turn.
    """
    history, bound = lab.history, _good_within(lab, way)
    good = 0
    while True:
        last = client.ask(way)
        good = good + 1 if last.good else 0
        over = since + bound + history.slack(since, history.now())
        if good == IN_A_ROW or last.outcome in ("hung", "died"):
            return last
        if not last.good:
            if last.began > over:
                return last
            history.let_pass(PAUSE, what="the closing act")


def _read_at_last(lab: Asking, client: Driver, way: Way, since: float) -> Operation:
    """Read a secret that may never have been read so; the last try, if none is good.

    Who answers from memory has shown nothing of a rest that an outage cost it: it has it now.
    """
    history, bound = lab.history, _good_within(lab, way)
    while True:
        last = client.ask(way, lab.entry.spare_path, lab.entry.spare_key)
        over = since + bound + history.slack(since, history.now())
        if last.good or last.outcome in ("hung", "died") or last.began > over:
            return last
        history.let_pass(PAUSE, what="the closing act")


def _back_within(lab: Asking) -> float:
    """Seconds for what has a pace of its own: no fewer than reads have after the longest fault."""
    over = [fault for fault in lab.history.faults if fault.ended is not None]
    return max([lab.recovery, *(lab.recovery_after(fault) for fault in over)])


def _good_within(lab: Asking, way: Way) -> float:
    """The same; what a memory learned in a fault it may give, as old, for R after that."""
    return _back_within(lab) + (0.0 if way == "read" else lab.refresh)


def _not_steady(call: Operation, since: float) -> Finding:
    promise = f"once reads are good again they go on: {IN_A_ROW} in a row"
    took = (call.ended or call.began) - since
    seen = f"{IN_A_ROW} never were in {took:.1f} s; the last {call.verb} ended {call.told}"
    return Finding(promise, seen, since, rests_on=(), until=call.ended, lacks=True)


def _not_read(call: Operation, since: float) -> Finding:
    promise = "a secret that nobody touched can be read"
    seen = f"{call.verb} of {call.path} ended {call.told}"
    if call.began > since + PAUSE:
        seen = f"{seen}, after {call.began - since:.1f} s of tries"
    return Finding(promise, seen, since, rests_on=(), until=call.ended, lacks=True)


def _late(
    lab: Asking, promise: str, way: Way, last: Operation, changed: float, *, came: bool
) -> Finding:
    """What came too late, by how much; or what had not come when nobody looked any more."""
    due, took = changed + lab.refresh, last.began - changed
    if came:
        seen = f"{way} told so only after {took:.1f} s"
        return Finding(
            promise, seen, changed, rests_on=(), missed=last.began - due, until=last.began
        )
    seen = f"{way} still gives {last.value or last.outcome} after {took:.1f} s"
    return Finding(promise, seen, changed, rests_on=(), until=due, lacks=True)


def _until(
    lab: Asking,
    read: Callable[[], Operation],
    seen: Callable[[Operation], bool],
    *,
    since: float,
) -> tuple[Operation, bool]:
    """Read until a change is seen, and for one more call's time where it should have been.

    So what is late is told from what never comes, which no machine has made so.

    Returns:
        The last read, and whether one before it began after the refresh time and did not see it.
    """
    history, late = lab.history, False
    while True:
        last = read()
        over = since + lab.refresh + history.slack(since, history.now())
        if seen(last) or last.outcome == "died" or last.began > over + lab.deadline:
            return last, late
        late = late or last.began > over
        history.let_pass(PAUSE, what="the closing act")


def _written(lab: Asking, client: Driver) -> None:
    """A write is good again, as reads are: often a pool, a circuit or a token of its own.

    It is tried again: one that was lost to a connection that is no more must not be repeated
    blindly.
    """
    history, bound, since = lab.history, _back_within(lab), lab.history.now()
    while True:
        value = f"canary-written-{token_hex(16)}"
        lab.secrets.add("written", value)
        last = client.write(WRITTEN, {"entry": value})
        if last.good:
            return
        over = since + bound + history.slack(since, history.now())
        if last.outcome in ("hung", "died") or last.began > over:
            break
        history.let_pass(PAUSE, what="the closing act")
    promise = "a write is good again once reads are"
    seen = f"none was for {(last.ended or last.began) - since:.1f} s; the last ended {last.told}"
    lab.note(Finding(promise, seen, since, rests_on=(), until=last.ended, lacks=True))


def _healthy(lab: Asking, client: Driver) -> None:
    """It says that it is well: it reads, and nothing is broken."""
    since, bound = lab.history.now(), _back_within(lab)
    well = client.healthy()
    while not well and lab.history.now() < since + bound and not client.closed:
        lab.history.let_pass(PAUSE, what="the closing act")
        well = client.healthy()
    if not well:
        seen = f"it says not well for {lab.history.now() - since:.1f} s while reads work"
        lab.note(Finding("health tells the truth", seen, since, rests_on=()))


def _closed(lab: Asking) -> None:
    """Every client is closed, within its bound, and its tokens are dead afterwards."""
    leaves = lab.leaves("token")
    if not leaves:
        held, ends = _read_until_a_token_lives(lab)
        _require(
            lab,
            "a token lived until the end, or had been given back",
            ends,
            f"of {len(held)} tokens in use, none lived when the client was closed",
        )
    since = last = lab.history.now()
    slow: list[tuple[float, Finding]] = []
    for driver in lab.drivers:
        if not driver.closed:
            last = lab.history.now()
            slow.extend(_ended_slowly(lab, driver))
    if slow:
        lab.note(max(slow, key=lambda one: one[0])[1])
    if leaves:
        lab.history.mark("its token is not asked for: it leaves it behind, as it says")
        return
    # Asked anew: a token may have been replaced in the very moment in which it was closed, and by
    # an instance that went on while others were closed.
    held = tokens_held(lab.history, replaced_before=last)
    left = [
        token
        for token, accessor in _accessors(lab, held).items()
        if not _refused_to_end(lab.history, token) and lab.token_lives(accessor)
    ]
    if left:
        plural = "s" * (len(left) != 1)
        seen = f"{len(left)} token{plural} of it alive after close: {', '.join(left)}"
        lab.note(Finding("its tokens are dead once it is closed", seen, since, rests_on=()))


def _read_until_a_token_lives(lab: Asking) -> tuple[list[str], bool]:
    """The tokens that are held, and whether one of them lives, or none is left to be given back.

    The act itself may have used up a token of few uses. Who asks Vault for each read logs in for
    the next one; who answers from memory needs a token at its next look only, and may have logged
    in meanwhile for nobody: what was never sent with a token does not show that it came.
    """
    until = lab.history.now() + lab.reach
    last: Operation | None = None
    while True:
        held, alive, batch = _tokens(lab)
        if alive or batch or (not held and _gave_its_last_token_back(lab.history)):
            return held, True
        if lab.client.closed or lab.history.now() > until:
            return held, False
        if last is not None:
            if last.outcome in ("hung", "died"):
                return held, False
            lab.history.let_pass(PAUSE, what="the closing act")
        last = lab.client.read()


def _gave_its_last_token_back(history: History) -> bool:
    """Whether the token that it was given last is dead by its own word: some need one for a call.

    What is asked of its end has been done then, and was seen.
    """
    logins = history.logins()
    return bool(logins) and any(
        one.good and one.token == logins[-1].token for one in history.find("revoke")
    )


def _ended_slowly(lab: Asking, driver: Driver) -> Iterator[tuple[float, Finding]]:
    """Close a client; if that takes too long, by how much, and what there is to say."""
    since = lab.history.now()
    ended = driver.close(timeout=CLOSE_WITHIN, beyond=lab.deadline)
    until = lab.history.now()
    took = until - since
    over = took - CLOSE_WITHIN - HANDOVER - lab.history.slack(since, until)
    if over > 0:
        promise, seen = f"a clean end within {CLOSE_WITHIN:g} s", f"it took {took:.1f} s"
        hung = ended.outcome == "hung"
        missed = None if hung else over
        yield (
            over,
            Finding(promise, seen, since, rests_on=(), missed=missed, until=until, lacks=hung),
        )


def tokens_held(history: History, *, replaced_before: float = math.inf) -> list[str]:
    """The tokens that the subject holds: used, not given back, and not replaced by a later login.

    A token of which it never learned (the answer to the login was lost) is not its own. One that
    it replaced before the end may live out its time; a call that was about to be sent with it when
    the new one came may still use it.

    Args:
        history: What was seen.
        replaced_before: Logins that began later replace nothing, but for those that came in their
            turn: at once, since the word to close may not have arrived by then, or of who renews
            none and logs in anew instead, of whom one may be on its way.
    """
    used: dict[str, Exchange] = {}
    gone = set()
    for exchange in history.find():
        if exchange.token is None or exchange.kind == "login":
            continue
        used[exchange.token] = exchange
        if exchange.kind == "revoke" and exchange.good:
            gone.add(exchange.token)
    born = {login.token: login for login in history.logins()}
    renews = bool(history.find("renew"))
    # Reckoned once for each: a herd has had hundreds, and each is compared with all others.
    everywhere = {
        token: _replaced_for_all(history, other) for token, other in born.items() if token in used
    }
    held = []
    for token, last in used.items():
        login = born.get(token)
        if login is None or token in gone:
            continue
        replaced = any(
            login.began < other.began
            and (other.began < replaced_before or _in_its_turn(login, other))
            and (other.began < replaced_before + HANDOVER or not renews)
            and other.token in everywhere
            and last.came <= everywhere[other.token]
            for other in born.values()
        )
        if not replaced:
            held.append(token)
    return held


def _in_its_turn(login: Exchange, other: Exchange) -> bool:
    """Whether a login comes in a part of a token's life in which it may replace it."""
    part = (other.began - login.began) / login.ttl if login.ttl else 0.0
    return INSTEAD[0] <= part <= 1.0


def _replaced_for_all(history: History, login: Exchange) -> float:
    """When a new token has reached each call that was about to be sent with the old one.

    Where a fault holds answers up, the client has had it by its first use for sure. A call that has
    taken the old one, and gets no core, sends it when it has one: for that there is as much more as
    the subject waited for a core, up to as long again.
    """
    came = login.ended or login.began
    if any(_holds_up(fault, came) for fault in history.faults):
        uses = history.find(since=came, where=lambda e: e.token == login.token)
        came = next((use.began for use in uses if use.kind != "login"), came)
    over = came + NEWS
    # It is looked at twice a second, and not known when in that time it waited.
    waits = [one.waited for one in list(history.starved) if one.at <= over and one.until >= came]
    return over + min(sum(waits), NEWS) + history.slack(came, over)


def _holds_up(fault: Fault, answer: float) -> bool:
    """Whether an answer that Vault gave at that moment reached the client late."""
    over = math.inf if fault.ended is None else fault.ended
    return bool(fault.signature.answers_late) and fault.began <= answer <= over


def _tokens(lab: Asking) -> tuple[list[str], dict[str, str], list[str]]:
    """The tokens that are held, the accessors of those that live, and those that have none."""
    held = tokens_held(lab.history)
    alive = {token: a for token, a in _accessors(lab, held).items() if lab.token_lives(a)}
    return held, alive, [token for token in held if lab.recorder.accessor(token) is None]


def _accessors(lab: Asking, tokens: list[str]) -> dict[str, str]:
    return {token: accessor for token in tokens if (accessor := lab.recorder.accessor(token))}


def _refused_to_end(history: History, token: str) -> bool:
    """Whether it tried to give a token back, as each token may itself, and Vault did not let it.

    Any other way to revoke a token takes rights of an operator: to be refused them is no excuse.
    """
    return any(
        e.token == token and e.status == 403 and e.path.endswith("revoke-self")
        for e in history.find("revoke")
    )


def _require(lab: Asking, what: str, met: bool, text: str) -> None:
    lab.require(f"{ACT}: {what}", lambda _: Sighting(met, "it was so" if met else text))
