"""Start and end clients, also as a herd."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from secrets import randbelow, token_hex

from vault_harness.errors import SubjectError
from vault_harness.judge.driver import Driver, reading, redacted
from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import (
    HANDOVER,
    LOADS,
    Oracle,
    none_of,
    still_waiting,
    takes_at_most,
)
from vault_harness.judge.running import STEADY_WITHIN
from vault_harness.judge.subjects import OperationFailed
from vault_harness.judge.verdict import Finding, NotClaimed, NotExercised
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.recorder.fault import Fault
from vault_harness.recorder.history import SLACK
from vault_harness.recorder.observations import Operation


def turns(lab: Lab, *, well: bool, within: float, every: float = 0.3) -> bool:
    """Ask until health answers `well`; return whether it did in time."""
    began = lab.history.now()
    while lab.client.healthy() != well:
        now = lab.history.now()
        if now > began + within + SLACK:
            return False
        lab.watch(every)
    return True


LEDGER = "backend/ledger"
"""A secret that clients write."""


def allow_writes(lab: Lab, path: str) -> None:
    """Let the role's next tokens write one secret."""
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
    value = f"canary-written-{token_hex(16)}"
    lab.secrets.add("written", value)
    return value


def look_like_something_else() -> dict[str, str]:
    """Return keys that look like a path, and texts that look like a number or a template.

    A client must keep every byte.
    """
    word = f"canary-text-{token_hex(12)}"
    return {
        "data": f"canary-data-{token_hex(12)}",
        "tls.crt": f"canary-crt-{token_hex(12)}",
        # It is so long that no log contains it by chance, which would look like a leak.
        "PIN": f"00{randbelow(10**24):024d}",
        "TEMPLATE": f"canary-${{HOME}}-%(key)s-{{{{key}}}}-{token_hex(12)}",
        # Vault writes the first three as backslash, u and four digits, as Go does. The last one
        # needs more than 16 bits.
        "LETTERS": f"canary-<b>&amp;\U0001f511-{token_hex(12)}",
        "LINES": f"{word}\r\nof Windows\r\n",
        "NUL": f"{word}\x00and more",
    }


def version_of(lab: Lab, path: str, *, at: VaultAdmin | None = None) -> int:
    """Return a secret's latest version on one node; 0 if there is none."""
    answer = (at or lab.operator).client.adapter.request(
        "GET", f"/v1/{lab.entry.mount}/metadata/{path}", raise_exception=False
    )
    data = answer.get("data") if isinstance(answer, dict) else None
    return int(data["current_version"]) if data else 0


def lockout(lab: Lab) -> set[str]:
    """Return a text if the subject's role is locked for everybody."""
    locked = approle.locked(lab.operator)
    role = lab.entry.approle
    return {f"{role} is in sys/locked-users" for found in locked if found.role_id == lab.role_id}


NOT_LOCKED = "the role is not locked for everybody"


def not_locked(lab: Lab) -> Oracle:
    """Check that the subject's role is not locked now."""
    now = lab.history.now()
    return none_of(NOT_LOCKED, lockout(lab), at=now, rests_on=())


ENDS_WITHIN = 5.0
"""Seconds in which a client must end: half of what ``docker stop`` waits."""


def start_in_background(lab: Lab) -> threading.Event:
    """Start the subject in another thread and let it read once."""
    opened = threading.Event()

    def start() -> None:
        try:
            if (client := lab.open(timeout=lab.start_under_a_fault)) is not None:
                client.read()
        finally:
            opened.set()

    threading.Thread(target=start, name="start", daemon=True).start()
    return opened


def await_start(lab: Lab, opened: threading.Event) -> bool:
    return lab.history.wait_for(opened.is_set, lab.longest_start, what="a start")


def tries_meanwhile(
    lab: Lab, opened: threading.Event, tried: Callable[[], bool], *, within: float
) -> bool:
    """Wait until a starting client has tried something; return whether it has.

    `within` counts from the end of the start, which has its own limit.
    """
    lab.history.wait_for(lambda: tried() or opened.is_set(), lab.longest_start, what="a start")
    return lab.until(tried, within=within)


@contextmanager
def callers_if_started(lab: Lab, fault: Fault, *, every: float, callers: int) -> Iterator[bool]:
    """Let callers read while the block runs, if the subject starts under the fault.

    A client that has not started two deadlines after its first request waits for Vault.

    Yields:
        Whether there are callers.
    """
    lab.history.wait_for(lambda: lab.started or lab.touched(fault), lab.asks_within)
    if lab.until(lambda: lab.started, within=2 * lab.deadline):
        with lab.reading(every=every, callers=callers):
            yield True
    else:
        lab.history.mark("no callers in the fault: it does not start while Vault is out of reach")
        yield False


def works_after_all(lab: Lab, fault: Fault, opened: threading.Event) -> float:
    """Wait for a good read of a client that was started during a past fault.

    A client that refused to start is started again, as a supervisor does. Return the seconds after
    the fault in which a good read must come, with the time for such a start.
    """
    await_start(lab, opened)
    took = started_again(lab)
    bound = lab.recovery_after(fault)
    if lab.started:
        lab.until_good_read_by_asking(within=bound)
    else:
        text = f"it does not start: {lab.history.operations[-1].message}"
        lab.note(Finding("it starts once Vault can serve it", text, lab.history.now()))
    return bound + took


def started_again(lab: Lab) -> float:
    """Start again a client that refused to start or was ended, as its supervisor does.

    Return the seconds that this and loading take; 0 if it was running.
    """
    if lab.started and not lab.client.closed:
        return 0.0
    began = lab.history.now()
    lab.open()
    return lab.history.now() - began + LOADS


def ends_cleanly(lab: Lab, client: Driver, *, within: float = ENDS_WITHIN) -> Operation:
    """End a client, and check that it ends in time, without an error, with code 0."""
    closed = client.close(timeout=within, beyond=5.0)
    ended = closed.ended or lab.history.now()
    code = client.subject.exit_code
    lab.judge_later(
        takes_at_most(within + HANDOVER, "until it has ended", since=closed.began, until=ended),
        none_of("it ends cleanly", {closed.told} if closed.failed else (), at=closed.began),
        # A client that hangs, and that an unexpected signal ends, would still end in time.
        none_of("its exit code is 0", {f"it is {code}"} if code else (), at=ended),
    )
    return closed


AT_ONCE = 4
"""More instances at once would have to wait for a core."""


LOOK_EVERY = 0.2
"""Seconds between checks of a large history."""


def open_herd(lab: Lab, count: int) -> list[Driver]:
    if lab.environment.subject.kind == "http":
        raise NotClaimed("a server is one instance: a herd needs many")
    first = lab.start()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        others = list(pool.map(lambda _: open_reading(lab), range(count - 1)))
    herd = [first, *(one for one in others if one is not None)]
    if len(herd) < count:
        raise NotExercised(f"of {count} instances {len(herd)} start and read")
    lab.history.clients = count
    return herd


def open_light_herd(lab: Lab, count: int) -> list[Driver]:
    """Start one process that makes `count` clients; only the first has a token."""
    first = lab.start()
    operation = lab.history.begin_operation("herd")
    try:
        herd = first.herd(count, timeout=lab.environment.start)
    except (OperationFailed, SubjectError) as error:
        text = redacted(lab.secrets, str(error))
        lab.history.end_operation(operation, "error", message=text)
        raise NotExercised(f"the subject claims herd, and makes none: {text}") from None
    lab.history.end_operation(operation, "ok")
    lab.history.clients = count
    return herd


def all_served(lab: Lab, *, since: float, within: float) -> None:
    until = lab.history.now() + within
    while still_waiting(lab.history, since=since) and lab.history.now() < until:
        lab.watch(LOOK_EVERY)


def open_reading(lab: Lab) -> Driver | None:
    """Start an instance; None if it does not read in time."""
    one = lab.open()
    if one is None:
        return None
    until = lab.history.now() + max(STEADY_WITHIN, lab.environment.start / 3)
    reads = [one.read()]
    while reads[-1].failed:
        if reads[-1].outcome in ("hung", "died") or lab.history.now() > until:
            return None
        lab.history.let_pass(0.2, what="an instance that reads")
        reads.append(one.read())
    lab.mark_warm_up(reads)
    return one


@contextmanager
def herd_reading(lab: Lab, herd: list[Driver], *, every: float) -> Iterator[None]:
    """Let a caller of each instance read, at moments spread over `every` seconds."""
    stop = threading.Event()
    with ExitStack() as callers:
        for driver in herd:
            callers.enter_context(reading(driver, every=every, stop=stop))
            lab.watch(every / len(herd))
        yield
