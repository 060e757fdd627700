"""Put a schedule in force: each fault begins when its request arrives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from vault_harness.judge.explore.points import Watch
from vault_harness.judge.explore.schedule import Schedule, Step
from vault_harness.judge.faults.http import (
    HTML,
    INTERNAL_ERROR,
    JSON,
    QUOTA,
    SEALED,
    SIGN_IN,
    a_page,
)
from vault_harness.judge.lab import Lab
from vault_harness.recorder.fault import Choice, Fault, Interference, RequestKind, Signature, Stub

TICK = 0.02
"""Seconds between two checks of the faults."""

FOR_EVER = 30.0
"""Seconds after which an unanswered request is dropped: far more than a deadline."""

DRIP = 0.1
"""Seconds between two bytes: no read times out, and no answer ends within a deadline."""

CUT = 100
"""Bytes before a connection is cut off: less than Vault's answer."""

NOTHING = 'path "none" { capabilities = ["deny"] }'

_DENIED = b'{"errors":["1 error occurred:\\n\\t* permission denied\\n\\n"]}\n'
_BEHIND = b'{"errors":["required index state not present"]}\n'


class Player:
    """Play one schedule in a lab. `faults` are those that have begun, in order."""

    def __init__(self, lab: Lab, schedule: Schedule) -> None:
        self.lab = lab
        self.faults: list[Fault] = []
        # Held while Vault is sealed, since a sealed Vault cannot be changed.
        self.vault = threading.Lock()
        self.acts = [Act(self, step, number) for number, step in enumerate(schedule.steps)]
        self.watch = Watch(
            lab.history,
            mount=lab.entry.mount,
            max_ttl=lab.entry.max_ttl,
            is_steady=lambda: lab.steady_since > 0,
            fired=lambda: [act.fired for act in self.acts if act.fired is not None],
        )
        self._stop = threading.Event()
        self._errors: list[BaseException] = []

    @property
    def begun(self) -> int:
        return sum(act.fired is not None for act in self.acts)

    @property
    def over(self) -> bool:
        return all(act.ended for act in self.acts)

    def is_next(self, act: Act) -> bool:
        return self.begun < len(self.acts) and self.acts[self.begun] is act

    def broke(self, error: BaseException) -> None:
        """Note a failure of the harness, which `installed` raises."""
        self._errors.append(error)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let the schedule happen, and undo at the end the faults in force."""
        with ExitStack() as closing:
            # The watch comes first: it knows the point that the acts ask for.
            for one in (self.watch, *self.acts):
                closing.enter_context(self.lab.recorder.interfere(one))
            thread = threading.Thread(target=self._tick, name="explore", daemon=True)
            thread.start()
            try:
                yield
            finally:
                self._stop.set()
                thread.join(timeout=30)
                for act in sorted(self.acts, key=lambda one: one.step.kind.means != "own server"):
                    act.end()
        if self._errors:
            raise self._errors[0]

    def _tick(self) -> None:
        while not self._stop.wait(TICK):
            for act in self.acts:
                try:
                    act.tick()
                except Exception as error:  # noqa: BLE001 - raised in the scenario's thread
                    self.broke(error)
                    return


class Act(Interference):
    """One step: waits for its point, acts, and ends.

    `fired` is the moment when the point was reached.
    """

    def __init__(self, player: Player, step: Step, number: int) -> None:
        self.step = step
        self.fired: float | None = None
        self.ended = False
        self._player = player
        self._closing = ExitStack()
        self._met: Any = None
        self._fault: Fault | None = None
        self._acting = threading.RLock()
        self._changing = player.vault if step.kind.means == "server" else threading.Lock()
        made = _as_request(step, player.lab)
        super().__init__(f"step {number + 1}: {step.fault}", Choice(), **made)

    def takes(self, kind: RequestKind, path: str) -> bool:  # noqa: ARG002 - the watch read it
        """Return whether this request meets the fault; begin it at its point."""
        point = self._player.watch.current
        assert point is not None, "the watch is asked first"
        if self.fired is not None and (self.ended or self.step.kind.means != "request"):
            return False  # do not wait for a state that is being made or undone
        with self._acting:
            if self.fired is None:
                if not (self._player.is_next(self) and self.step.point.fits(point)):
                    return False
                self._begin()
            elif self.ended or not self.step.lasts or self._is_late():
                return False
            elif self.step.kind.kinds and kind not in self.step.kind.kinds:
                return False  # a missing secret says nothing about a renewal
            taken = self.step.kind.means == "request"
            self._taken += taken
            return taken

    def tick(self) -> None:
        if self._fault is None or self.ended or not self._changing.acquire(blocking=False):
            return
        try:
            with self._acting:
                if self.step.lasts:
                    over = self._is_late()
                else:
                    over = self._met is None or self._met.ended is not None
                if over:
                    self._end()
        finally:
            self._changing.release()

    def end(self) -> None:
        with self._changing, self._acting:
            self._end()

    def _end(self) -> None:
        if self.fired is None or self.ended:
            return
        try:
            self._closing.close()
        except Exception as error:  # noqa: BLE001 - raised in the scenario's thread
            self._player.broke(error)
        self.ended = True  # set last, since the scenario then asks when the fault ended

    def _is_late(self) -> bool:
        return self._player.lab.history.now() >= (self.fired or 0.0) + self.step.lasts

    def _begin(self) -> None:
        lab, means = self._player.lab, self.step.kind.means
        self.fired = lab.history.now()
        if means == "request":
            self._met = self._player.watch.exchange
            self._note(self.name, Signature(interference=self.name))
        elif means == "server" and self._changing.acquire(blocking=False):
            try:
                self._enter()
            finally:
                self._changing.release()
        elif means == "network":
            self._enter()
        else:
            # Sealing takes a second, in which the recorder has to go on.
            threading.Thread(target=self._enter_alone, name="explore", daemon=True).start()

    def _enter_alone(self) -> None:
        with ExitStack() as held:
            held.enter_context(self._player.vault)
            with self._acting:
                if self.ended:
                    return
                if self.step.kind.means == "own server":
                    self._closing.enter_context(held.pop_all())
                self._enter()

    def _enter(self) -> None:
        try:
            self._fault = self._closing.enter_context(_as_state(self.step, self._player.lab))
        except Exception as error:  # noqa: BLE001 - raised in the scenario's thread
            self._player.broke(error)
            self._end()
            return
        self._player.faults.append(self._fault)
        self.fired = max(self.fired or 0.0, self._fault.began)

    def _note(self, name: str, signature: Signature) -> None:
        history = self._player.lab.history
        self._fault = fault = history.begin_fault(name, signature, optional=True)
        fault.counter = self
        self._closing.callback(history.end_fault, fault)
        self._player.faults.append(fault)


def _as_request(step: Step, lab: Lab) -> dict[str, Any]:
    """Return how a fault acts on single requests; empty if it does not."""
    stubs = {
        "500": Stub(status=500, body=INTERNAL_ERROR, headers=JSON),
        "502": Stub(status=502, body=a_page(502), headers=HTML),
        "503": Stub(status=503, body=SEALED, headers=JSON),
        "403": Stub(status=403, body=_DENIED, headers=JSON),
        "404": Stub(status=404, body=b'{"errors":[]}\n', headers=JSON),
        "412": Stub(status=412, body=_BEHIND, headers=JSON),
        "429": Stub(status=429, body=QUOTA, headers=JSON),
        "429-retry-after": Stub(status=429, body=QUOTA, headers={**JSON, "Retry-After": "1"}),
        "page-200": Stub(status=200, body=SIGN_IN, headers=HTML),
        "page-403": Stub(status=403, body=a_page(403), headers=HTML),
        "page-404": Stub(status=404, body=a_page(404), headers=HTML),
        # The discard port, where nothing listens: a leader that has died.
        "redirect": Stub(status=307, headers={"Location": "http://127.0.0.1:9/v1/"}),
    }
    match step.fault:
        case "lost":
            return {"loses": True}
        case "late":
            return {"late": lab.entry.deadline / 2}
        case "silent":
            return {"late": step.lasts or FOR_EVER, "loses": True}
        case "goodbye":
            return {"closes": True}
    return {"stub": stubs[step.fault]} if step.fault in stubs else {}


def _as_state(step: Step, lab: Lab) -> AbstractContextManager[Fault]:
    network, vault, role = lab.network, lab.vault, lab.entry.approle
    match step.fault:
        case "refused":
            return network.down()
        case "cut-off":
            return network.truncated(after=CUT)
        case "dripping":
            return network.drip(pause=DRIP)
        case "token-revoked":
            return vault.token_revoked(_accessor(lab))
        case "role-locked":
            return vault.role_locked(role)
        case "secret-id-gone":
            return _secret_id_gone(lab)
        case "policy-narrowed":
            return vault.policy(role, NOTHING)
        case "secret-changed":
            return _secret_changed(lab, deleted=False)
        case "secret-deleted":
            return _secret_changed(lab, deleted=True)
    assert step.fault == "sealed", step.fault
    return vault.sealed()


def _accessor(lab: Lab) -> str:
    logins = [e for e in lab.history.logins() if e.accessor]
    assert logins, "a token is used, so a login made it"
    return str(logins[-1].accessor)


@contextmanager
def _secret_id_gone(lab: Lab) -> Iterator[Fault]:
    with lab.vault.secret_id_destroyed(
        lab.entry.approle, lab.secret_id.accessor, optional=True
    ) as fault:
        yield fault
        lab.new_secret_id()


@contextmanager
def _secret_changed(lab: Lab, *, deleted: bool) -> Iterator[Fault]:
    name = "secret deleted" if deleted else "secret changed"
    fault = lab.history.begin_fault(name, Signature(), optional=True)
    if deleted:
        lab.delete(lab.entry.path)
    else:
        lab.put("v2")
    try:
        yield fault
    finally:
        if deleted:
            lab.put("v3")
        lab.history.end_fault(fault)
