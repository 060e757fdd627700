"""Try a running application: break what it needs of Vault, and say what it did.

It reaches Vault through a recorder and a secret-id of its own, so that cuts and late answers
concern nobody else. Only the seal concerns the whole stack.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGTERM
from typing import Literal, Self

import requests

from vault_harness.addresses import joined
from vault_harness.errors import HarnessError, SettingsError, named, without_frames
from vault_harness.files import tail
from vault_harness.interrupts import uninterrupted
from vault_harness.local.engine.folders import run_directory
from vault_harness.local.engine.ports import LOOPBACK, PortLease
from vault_harness.local.engine.process.spawn import LeashedProcess
from vault_harness.local.engine.provider import Endpoints, tls_files
from vault_harness.local.stack.env import merged, service_environment
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.vault import approle, tokens
from vault_harness.operator.rotate import rotate_secret_id
from vault_harness.recorder.fault import Choice, Interference
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import Exchange
from vault_harness.recorder.recorder import Recorder, Tls
from vault_harness.recorder.secrets import Secrets
from vault_harness.waiting import in_words

Verdict = Literal["survived", "broken", "not exercised"]

START_SECONDS = 60.0
"""Until the command has logged in, and is healthy."""

LATE_SECONDS = 2.0
LEAST_SECONDS = 5.0
"""A late answer may still be on its way at the end of a fault."""
_END_SECONDS = 10.0
_HEALTH_SECONDS = 2.0
_LOOK_SECONDS = 0.25
_LINES = 5  # of output, in an error


@dataclass(frozen=True)
class Step:
    """What a command did about one fault.

    Attributes:
        requests: How many, by kind and status: ``read 503``. A refused connection brings none.
        recovered: Seconds from the end of the fault to the first request that worked.
        unhealthy: Seconds for which the health URL failed; None if none was given.
    """

    fault: str
    verdict: Verdict
    told: str
    requests: Mapping[str, int] = field(default_factory=dict)
    recovered: float | None = None
    unhealthy: float | None = None


class Way:
    """One command's own way to Vault: a recorder with a door that can be shut."""

    def __init__(self, endpoints: Endpoints, data_dir: Path, namespace: str) -> None:
        self._lease = PortLease()
        self.recorder = Recorder(
            History(),
            Secrets(),
            upstream=joined(endpoints.vault),
            tls=Tls(vault=_tls(endpoints, data_dir)),
        )
        self.recorder.namespace = namespace
        self._door = self.recorder.listen_too(LOOPBACK, self._lease.port)

    @property
    def address(self) -> str:
        """Always in the clear."""
        return f"http://{self._lease.listen}"

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        self._door.shut()
        try:
            yield
        finally:
            self._door = self.recorder.listen_too(LOOPBACK, self._lease.port)

    def close(self) -> None:
        self.recorder.close()
        self._lease.release()


def _tls(endpoints: Endpoints, data_dir: Path) -> ssl.SSLContext | None:
    if not endpoints.vault.startswith("https:"):
        return None
    context = ssl.create_default_context(cafile=endpoints.ca_cert)
    own = tls_files(data_dir)
    if own is not None and own.clients is not None:
        context.load_cert_chain(data_dir / "tls" / "operator.pem")
    return context


class Trial:
    """A command that runs with one service's variables while things break.

    It ends the command, and mends everything, also after Ctrl-C.

    Args:
        health: A URL that answers below 400 while the application is well.
        seconds: How long a fault lasts, and how long the command is watched afterwards.
        log: For the command's output; by default nowhere.
    """

    def __init__(
        self,
        stack: LocalStack,
        command: str,
        *,
        service: str,
        health: str | None = None,
        seconds: float = 10.0,
        log: Path | None = None,
    ) -> None:
        self._stack = stack
        self._command = command
        self._service = service
        self._health = health
        self._seconds = seconds
        self._log = log
        blueprint = stack.blueprint()
        self._role = blueprint.services.get(service, service)
        self._closing = ExitStack()
        self._looks: list[tuple[float, bool]] = []
        self._over = threading.Event()
        self.faults: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
            "cut": lambda: self.way.cut(),
            "latency": self._late,
            "seal": self._sealed,
            "revoke": self._revoked,
            "rotate": self._rotated,
        }

    @without_frames
    def __enter__(self) -> Self:
        stack = self._stack
        given = service_environment(stack, self._service)
        try:
            words = shlex.split(self._command)
        except ValueError:
            words = []
        if not words:
            raise SettingsError(
                f"{self._command!r} is no command",
                looked_at="the command line",
                remedy="quote it as a shell takes it: 'python manage.py runserver'",
            )
        with ExitStack() as opening:
            self._ids = opening.enter_context(run_directory())
            self.way = Way(stack.endpoints(), stack.data_dir, given.get("VAULT_NAMESPACE", ""))
            opening.callback(self.way.close)
            opening.callback(self._end_ids)
            with closing(stack.operator()) as op:
                ids = approle.write_credentials(op, self._role, self._ids)
            for name in ("VAULT_CACERT", "VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY"):
                given.pop(name, None)
            given |= {
                "VAULT_ADDR": self.way.address,
                "VAULT_ROLE_ID_FILE": str(ids.role_id_file),
                "VAULT_SECRET_ID_FILE": str(ids.secret_id_file),
            }
            log = self._log.absolute() if self._log else self._ids / "command.log"
            self._process = LeashedProcess(
                words, log=log, environment=merged(given, os.environ), cwd=Path.cwd()
            )
            self._output = log
            opening.callback(self._end)
            if self._health:
                threading.Thread(target=self._watch, name="health", daemon=True).start()
                opening.callback(self._over.set)
            self._closing = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with uninterrupted():
            self._closing.close()

    @property
    def history(self) -> History:
        return self.way.recorder.history

    def start(self) -> float | None:
        """Wait until the command has logged in, and is healthy.

        Return the seconds, or None if it never asked Vault or never got well.
        """

        def begun() -> bool:
            well = not self._health or (self._looks and self._looks[-1][1])
            return self._died() or bool(self.history.logins() and well)

        came = self.history.wait_for(begun, START_SECONDS, what="the first login")
        if self._died():
            raise SettingsError(
                f"the command {self._how_it_ended()} before anything was broken",
                looked_at=self._command,
                remedy=f"see that it runs by itself. It said: {self._said() or 'nothing'}",
            )
        return self.history.now() if came else None

    def step(self, fault: str) -> Step:
        if fault == "seal" and not self._can_seal():
            return Step(fault, "not exercised", "this Vault cannot be unsealed by keys")
        since = self.history.now()
        with ExitStack() as broken:
            broken.enter_context(self.faults[fault]())
            if fault not in _DONE_AT_ONCE:
                self.history.let_pass(self._seconds, unless=self._died, what=fault)
            with uninterrupted():
                broken.close()
        mended = self.history.now()
        since = mended if fault in _DONE_AT_ONCE else since
        self.history.wait_for(
            lambda: self._died() or (bool(self._good(mended)) and self._well()),
            max(self._seconds, LEAST_SECONDS),
            what="the command",
        )
        return self._judged(fault, since, mended)

    # -- what breaks ---------------------------------------------------------------------------

    def _late(self) -> AbstractContextManager[None]:
        return self.way.recorder.interfere(
            Interference("late answers", Choice(), late=LATE_SECONDS)
        )

    @contextlib.contextmanager
    def _sealed(self) -> Iterator[None]:
        try:
            self._stack.seal()
            yield
        finally:
            self._stack.unseal()

    def _can_seal(self) -> bool:
        with contextlib.suppress(HarnessError):
            return self._stack.before_closing("sealed", leave_sealed=False) == "keys"
        return False

    @contextlib.contextmanager
    def _revoked(self) -> Iterator[None]:
        self._revoke()
        yield

    @contextlib.contextmanager
    def _rotated(self) -> Iterator[None]:
        with closing(self._stack.operator()) as op:
            rotate_secret_id(op, self._role, self._ids)
        self._revoke()  # otherwise nobody needs the new one
        yield

    def _revoke(self) -> None:
        with closing(self._stack.operator()) as op:
            for accessor in {each.accessor for each in self.history.logins() if each.accessor}:
                tokens.revoke(op, accessor)

    # -- what is seen --------------------------------------------------------------------------

    def _judged(self, fault: str, since: float, mended: float) -> Step:
        now = self.history.now()
        seen = self.history.find(since=since)
        after, good = self.history.find(since=mended), self._good(mended)
        unhealthy = self._unhealthy(since, now)
        recovered = round(good[0].began - mended, 2) if good else None
        verdict: Verdict = "survived"
        if self._died():
            verdict, told = "broken", f"the command {self._how_it_ended()}"
        elif not seen:
            verdict, told = "not exercised", f"did nothing for {in_words(now - since)}"
        elif not good and after:
            worst = Counter(_status(one) for one in after).most_common(1)[0][0]
            verdict = "broken"
            told = f"asked {len(after)} times afterwards, and none of it worked ({worst})"
        elif not good:
            verdict = "not exercised"
            told = f"did not ask again for {in_words(now - mended)} afterwards"
        else:
            told = f"{_deed(seen)}, {in_words(good[0].began - mended)} after "
            told += "the end of the fault" if mended > since else "it"
        if unhealthy is not None and not self._died():
            if not self._well():
                verdict, told = "broken", f"{told}; unhealthy to the end"
            elif unhealthy:
                told += f"; unhealthy for {in_words(unhealthy)}"
            else:
                told += "; fell back: healthy all the time"
        counts = Counter(f"{one.kind} {_status(one)}" for one in seen)
        return Step(fault, verdict, told, dict(counts), recovered, unhealthy)

    def _good(self, since: float) -> list[Exchange]:
        return self.history.find(
            since=since, where=lambda one: one.good and one.kind != "status" and not one.closed
        )

    def _watch(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not self._over.is_set():
                well = False
                with contextlib.suppress(requests.RequestException):
                    well = session.get(str(self._health), timeout=_HEALTH_SECONDS).ok
                self._looks.append((self.history.now(), well))
                self._over.wait(_LOOK_SECONDS)

    def _well(self) -> bool:
        return not self._health or bool(self._looks and self._looks[-1][1])

    def _unhealthy(self, since: float, until: float) -> float | None:
        """Return the seconds from the first to the last bad look, 0 without one."""
        if not self._health:
            return None
        bad = [at for at, well in list(self._looks) if since <= at <= until and not well]
        return round(bad[-1] - bad[0] + _LOOK_SECONDS, 2) if bad else 0.0

    def _died(self) -> bool:
        return not self._process.alive()

    def _how_it_ended(self) -> str:
        code = self._process.exit_code() or 0
        return f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}"

    def _said(self) -> str:
        lines = tail(self._output).strip().splitlines()[-_LINES:]
        return self.way.recorder.secrets.redact(" / ".join(lines))

    # -- the end -------------------------------------------------------------------------------

    def _end(self) -> None:
        self._process.signal(SIGTERM)
        self._process.wait(_END_SECONDS)
        self._process.kill()

    def _end_ids(self) -> None:
        """End the command's token and its secret-id; a Vault that does not answer keeps them."""
        with contextlib.suppress(HarnessError):
            self._revoke()
            _, file = approle.credential_files(self._role, self._ids)
            with closing(self._stack.operator()) as op:
                known = approle.lookup(op, self._role, approle.read_id(file)) or {}
                if accessor := known.get("secret_id_accessor"):
                    approle.destroy(op, self._role, str(accessor))


_DONE_AT_ONCE = frozenset({"revoke", "rotate"})


def _status(one: Exchange) -> str:
    if one.closed is not None or one.status is None:
        return "without an answer"
    return str(one.status)


def _deed(seen: Sequence[Exchange]) -> str:
    if any(one.kind == "login" and one.good for one in seen):
        return "logged in again"
    if any(one.kind == "renew" and one.good for one in seen):
        return "renewed"
    return "asked again"


def no_fault(name: str, known: Sequence[str]) -> SettingsError:
    return SettingsError(
        f"there is no fault {name}",
        looked_at="--only",
        remedy=f"name some of {', '.join(known)}, with commas; {named('break')} has others",
    )
