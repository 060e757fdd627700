"""The lab: one scenario's own Vault, proxy, recorder, subject and history, up to the verdict."""

from __future__ import annotations

import secrets as random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from harness.blueprint import Blueprint
from harness.engine import Engine
from harness.errors import SubjectError
from harness.faults import Fault, NetworkFaults, ProcessFaults, Signature, VaultFaults
from harness.files import write_private
from harness.scenario import oracles
from harness.scenario._audit import read_audit
from harness.scenario._secrets import Secrets
from harness.scenario.catalogue import Entry
from harness.scenario.driver import Driver, Verb, reading, said
from harness.scenario.guard import evidence_of
from harness.scenario.history import History, Operation, Touch
from harness.scenario.oracles import Oracle
from harness.scenario.recorder import Recorder
from harness.scenario.verdict import Finding, NotExercised, Verdict, decide
from harness.stack import Stack, launch
from harness.subjects import OperationFailed, Subject, SubjectSpec, open_subject
from harness.toxiproxy import Proxy, Toxiproxy
from harness.vault import approle

STEADY_READS = 3
"""Good reads in a row that make a steady state."""

LONGEST = 60.0
"""Seconds; a subject that declares a longer back-off or deadline is not waited for."""

ROLE = "backend"
PATH, KEY = "backend/django", "SECRET_KEY"


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """What the scenarios of one process share: an engine, and one Toxiproxy server.

    Attributes:
        engine: Runs servers.
        toxiproxy: Control over the Toxiproxy server.
        listen: Gives a free address for a proxy, as the Toxiproxy server sees it.
        reachable: Turns that into one that a client here can use.
        directory: For files of scenarios.
        subject: Which client is tested.
        declared: Times that the command line declares for it; they win over its own.
        seed: Of the Toxiproxy server, to be printed on failure.
    """

    engine: Engine
    toxiproxy: Toxiproxy
    listen: Callable[[], str]
    reachable: Callable[[str], str]
    directory: Path
    subject: SubjectSpec
    declared: dict[str, float]
    seed: int


class NotClaimed(Exception):
    """The subject does not claim, declare or tell what the scenario is about."""


class Lab:
    """One scenario under way. Close it (it is a context manager) and nothing of it is left.

    Attributes:
        entry: The scenario's data.
        history: What happened so far.
        vault: Faults of Vault.
        network: Faults of the network.
        process: Faults of processes.
        stack: The Vault, its keyring and an operator's token.
        client: The subject, once `start` was called.
    """

    def __init__(self, workplace: Workplace, entry: Entry) -> None:
        self.entry = entry
        self.workplace = workplace
        self.history = History()
        self.secrets = Secrets()
        self.directory = workplace.directory / entry.id
        self.directory.mkdir(mode=0o700, parents=True)
        self._closing = ExitStack()
        self._findings: list[Finding] = []
        self._asked: list[Oracle] = []
        self._subject: Subject | None = None
        self._client: Driver | None = None
        self.verdict: Verdict | None = None
        try:
            self._set_up()
        except BaseException:
            self._closing.close()
            raise

    def _set_up(self) -> None:
        work = self.workplace
        self.stack: Stack = self._closing.enter_context(
            launch(
                work.engine,
                Blueprint.default(),
                directory=self.directory / "vault",
                storage=self.entry.storage,
                audit_raw=True,
                name=self.entry.id.lower(),
            )
        )
        self.recorder = Recorder(
            self.history,
            self.secrets,
            upstream=self.stack.node.address.split("//")[1],
            host=work.engine.bind_host(),
        )
        self._closing.callback(self.recorder.close)
        self.proxy: Proxy = work.toxiproxy.create(
            self.entry.id,  # a name that is the same in each run, so that a seed repeats it
            listen=work.listen(),
            upstream=work.engine.reachable_from_toxiproxy(self.recorder.port),
        )
        self._closing.callback(self.proxy.delete)
        self.address = f"http://{work.reachable(self.proxy.listen)}"
        status = self.stack.operator.seal_status()
        self.product = f"{status.product} {status.version}"
        self.vault = VaultFaults(self.stack, self.history)
        self.network = NetworkFaults(self.proxy, self.history)
        self.process = ProcessFaults(self.history)
        self.secrets.add("token", self.stack.keyring.root_token, "root token")
        for value in self.entry.environ.values():
            if value.startswith("canary-"):
                self.secrets.add("secret", value, "fallback")
        self._set_role()
        self.put("v1")

    def _set_role(self) -> None:
        parameters = {
            "token_ttl": f"{self.ttl:g}s",
            "token_max_ttl": f"{self.entry.max_ttl:g}s",
            **self.entry.role,
        }
        self.stack.operator.client.adapter.post(f"/v1/auth/approle/role/{ROLE}", json=parameters)
        self.role_id = approle.role_id(self.stack.operator, ROLE)
        self.new_secret_id()

    # The scenario's numbers

    @property
    def ttl(self) -> float:
        """T: the token's TTL, seconds."""
        return self.entry.ttl

    @property
    def deadline(self) -> float:
        """D: the total deadline of each call, seconds; the subject's own, where it has another."""
        return self.declared("deadline", self.entry.deadline)

    def declared(self, name: str, default: float) -> float:
        """A time by which the subject asks to be judged, in seconds, or the suite's own."""
        found = self.declared_or_none(name)
        return default if found is None else found

    def declared_or_none(self, name: str) -> float | None:
        """A time that the command line declares, or else the subject itself, in seconds."""
        if name in self.workplace.declared:
            return self.workplace.declared[name]
        return self._subject.declares.get(name) if self._subject else None

    @property
    def recovery(self) -> float:
        """B + 2 s: how soon after a fault a good read must come."""
        return min(self.declared("backoff_cap", self.ttl / 2), LONGEST) + 2.0

    @property
    def refresh(self) -> float:
        """R: how soon a changed secret must be seen, seconds."""
        return self.declared("refresh", 5.0)

    # The operator's hand

    def put(self, label: str, *, path: str = PATH, key: str = KEY) -> None:
        """Write a new value; reads are judged by its label from now on."""
        value = f"canary-{label}-{random.token_hex(12)}"
        self.secrets.add("secret", value, label if path == PATH else f"{path}:{label}")
        rotation = self.history.note_rotation(path, self.secrets.label(value) or label)
        self.stack.operator.client.secrets.kv.v2.create_or_update_secret(
            path, {key: value}, mount_point="ecommerce"
        )
        self.history.end_rotation(rotation)

    @contextmanager
    def changing(self, label: str, *, path: str, key: str) -> Iterator[None]:
        """Let somebody else change a value; the one that is there afterwards bears the label."""
        rotation = self.history.note_rotation(path, f"{path}:{label}")
        yield
        found = self.stack.operator.client.secrets.kv.v2.read_secret_version(
            path, mount_point="ecommerce", raise_on_deleted_version=True
        )
        self.secrets.add("secret", found["data"]["data"][key], f"{path}:{label}")
        self.history.end_rotation(rotation)

    def new_secret_id(self, *, deliver: bool = True) -> approle.SecretId:
        """Make a secret-id and, unless told otherwise, put it where the subject finds it."""
        made = approle.new_secret_id(self.stack.operator, ROLE)
        self.secrets.add("secret-id", made.secret_id)
        if deliver:
            self.deliver(made)
        return made

    def deliver(self, secret_id: approle.SecretId) -> None:
        """Put a secret-id where the subject finds it; a file is replaced by renaming."""
        self.secret_id = secret_id
        role_id_file, self.secret_id_file = approle.credential_files(ROLE, self.directory)
        write_private(role_id_file, self.role_id)
        write_private(self.secret_id_file, secret_id.secret_id)
        self.history.mark(f"{self.secrets.label(secret_id.secret_id)} delivered")

    def accessor(self) -> str:
        """The accessor of the token that the subject uses now.

        Raises:
            NotExercised: It has none.
        """
        login = self.history.last_token()
        if login is None or login.accessor is None:
            raise NotExercised("the subject never logged in, so there is no token to break")
        return login.accessor

    def tokens_alive(self) -> int:
        """How many tokens of the subject's role live in Vault."""
        client = self.stack.operator.client
        alive = 0
        for accessor in client.list("auth/token/accessors")["data"]["keys"]:
            try:
                data = client.auth.token.lookup_accessor(accessor)["data"]
            except Exception as error:  # noqa: BLE001 - it died between the list and the look
                self.history.mark(f"a token was gone when looked up: {type(error).__name__}")
                continue
            alive += bool((data.get("meta") or {}).get("role_name") == ROLE)
        return alive

    def issue_instead(self, **parameters: object) -> None:
        """From now on each accepted login is answered with another token of that role.

        The token is a real one of this Vault, made with these parameters of ``auth/token/create``;
        the one that the login made is revoked. For kinds of token that no AppRole can issue.
        """
        client = self.stack.operator.client

        def rewrite(body: dict[str, object]) -> dict[str, object]:
            auth = body["auth"]
            assert isinstance(auth, dict)
            order = {
                "policies": auth["policies"],
                "meta": auth["metadata"],
                "ttl": f"{self.ttl:g}s",
                "no_parent": True,
                **parameters,
            }
            made = client.adapter.post("/v1/auth/token/create", json=order)["auth"]
            client.auth.token.revoke_accessor(auth["accessor"])
            same = ("client_token", "accessor", "renewable", "lease_duration", "token_type")
            return {**body, "auth": {**auth, **{name: made[name] for name in same}}}

        self.recorder.rewrite_login = rewrite

    @contextmanager
    def condition(self, name: str, **marks: Any) -> Iterator[Fault]:
        """Something that is so without any fault, but must have touched the subject."""
        fault = self.history.begin_fault(name, Signature(**marks))
        try:
            yield fault
        finally:
            self.history.end_fault(fault)

    # The subject

    def environ(self) -> dict[str, str]:
        """The subject's whole configuration."""
        environ = {
            "USE_VAULT": "true",
            "VAULT_ADDR": self.address,
            "VAULT_MOUNT_POINT": "ecommerce",
            "VAULT_CLIENT_TIMEOUT": f"{self.deadline:g}",
            # Beyond the guide's own variables: short ones, so that their ends can be watched.
            "VAULT_CACHE_TTL": "2",
            "VAULT_MAX_STALE": "6",
            **self.entry.environ,
        }
        if self.entry.ids == "files":
            role_id_file, secret_id_file = approle.credential_files(ROLE, self.directory)
            environ["VAULT_ROLE_ID_FILE"] = str(role_id_file)
            environ["VAULT_SECRET_ID_FILE"] = str(secret_id_file)
        else:
            environ["VAULT_ROLE_ID"] = self.role_id
            environ["VAULT_SECRET_ID"] = self.secret_id.secret_id
        return environ

    @property
    def started(self) -> bool:
        """Whether a subject runs."""
        return self._client is not None

    @property
    def tells_outcomes(self) -> bool:
        """Whether the subject tells one failure from another, as far as is known by now."""
        return self.client.subject.tells_outcomes

    @property
    def client(self) -> Driver:
        """The subject, started."""
        assert self._client is not None, "the scenario did not call lab.start()"
        return self._client

    def open(self, *, timeout: float = 15.0) -> Driver | None:
        """Start the subject; None if it refuses to start, which the history then tells."""
        operation = self.history.begin_operation("start")
        try:
            subject = open_subject(
                self.workplace.subject,
                self.environ(),
                log=self.directory / f"subject-{operation.number}.log",
                timeout=timeout,
                # A developer's own SECRET_KEY is no fallback of this scenario's.
                withhold={key for _, _, keys in self.stack.blueprint.paths() for key in keys},
            )
        except (OperationFailed, SubjectError) as error:
            text = said(self.secrets, str(error))
            self.history.end_operation(operation, "error", message=text)
            return None
        self.history.end_operation(operation, "ok")
        self._subject = subject
        try:
            self._check_claims(subject)
        except NotClaimed:
            subject.kill()
            raise
        self._client = Driver(subject, self.history, self.secrets, deadline=self.deadline)
        self._closing.callback(self._end_subject, self._client)
        return self._client

    def start(self) -> Driver:
        """Start the subject and see it in its steady state.

        Raises:
            NotExercised: It does not start, or it does not read.
        """
        client = self.open()
        if client is None:
            raise NotExercised(f"the subject does not start: {self.history.operations[-1].message}")
        for number in range(STEADY_READS):
            read = client.read()
            if not read.good:
                raise NotExercised(
                    f"no steady state: read {number + 1} before any fault ended "
                    f"{read.outcome}: {read.message}"
                )
        if self.history.last_token() is None:
            raise NotExercised("the subject reads, but no login of it passed the recorder")
        return client

    def _check_claims(self, subject: Subject) -> None:
        entry = self.entry
        if missing := sorted(entry.needs - subject.capabilities):
            raise NotClaimed(f"the subject does not claim: {', '.join(missing)}")
        known = {*self.workplace.declared, *subject.declares}
        if missing := sorted(entry.declares - known):
            raise NotClaimed(f"the subject does not declare {', '.join(missing)} (see --declare)")
        if self.deadline > LONGEST:
            raise NotClaimed(
                f"its calls may take {self.deadline:g} s; configure it with at most {LONGEST:g} s"
            )
        if entry.process and subject.pid is None:
            raise NotClaimed("the subject has no process of its own on this machine")

    def needs_outcomes(self) -> None:
        """Leave the scenario if the subject, which has failed by now, does not tell why.

        It stays if something was found already: that counts, whatever the subject tells.

        Raises:
            NotClaimed: It does not.
        """
        if not self.tells_outcomes and not self._findings:
            raise NotClaimed("the subject does not tell one failure from another (outcomes)")

    def _end_subject(self, client: Driver) -> None:
        try:
            client.subject.close(timeout=5.0)
        except (OperationFailed, SubjectError):
            client.subject.kill()

    def reading(
        self,
        *,
        every: float = 0.25,
        callers: int = 1,
        verb: Verb = "read",
        path: str = PATH,
        key: str = KEY,
    ) -> AbstractContextManager[None]:
        """Let callers read again and again while a block runs."""
        return reading(self.client, every=every, callers=callers, verb=verb, path=path, key=key)

    # Time

    def watch(self, seconds: float) -> None:
        """Let the scenario go on for so long, or until the subject dies."""
        self.history.wait_for(self._dead, seconds)

    def _dead(self) -> bool:
        return any(o.outcome == "died" for o in list(self.history.operations))

    def until_good_read(self, *, since: float, within: float) -> None:
        """Wait for a good read that began after `since`; an oracle says whether it was in time."""
        limit = within + oracles.TOLERANCE + max(0.0, since - self.history.now())
        self.history.wait_for(
            lambda: any(o.good for o in self.history.calls("read", "read_cached", since=since)),
            limit,
        )

    def hold(self, fault: Fault, seconds: float) -> None:
        """Let a fault last so long, and longer if it has not bitten yet.

        A client that reads from its cache may meet it only after its refresh time.
        """
        self.watch(seconds)
        if not self._dead():
            self.history.wait_for(lambda: self.bit(fault), self.refresh + oracles.TOLERANCE)

    # The verdict

    def judge_later(self, *asked: Oracle) -> None:
        """Ask these oracles too when it comes to the verdict."""
        self._asked.extend(asked)

    def note(self, *found: Finding) -> None:
        """Add findings that a scenario made by itself."""
        self._findings.extend(found)

    def judge(
        self,
        *asked: Oracle,
        refresh: float | None = None,
        stale_for: float | None = None,
        fallback: bool = False,
        steady: bool = True,
    ) -> None:
        """Ask the oracles, those of every scenario too, and come to a verdict.

        Args:
            asked: The oracles of this scenario.
            refresh: How old a value may be that is not marked stale; the subject's R by default.
            stale_for: How old one may be that is marked stale; the subject's S by default.
            fallback: Whether the value of the environment variable is right too.
            steady: Whether the steady state must hold again now.
        """
        if steady:
            self._ask_again()
        self._collect()
        if self._client is not None:
            self._client.look_again()
        standing = (
            oracles.no_wrong_value(
                refresh=self.refresh if refresh is None else refresh,
                stale_for=self.declared_or_none("max_stale") if stale_for is None else stale_for,
                fallback=fallback,
            ),
            oracles.every_call_ends_within(self.deadline),
            *self._harmless,
        )
        for oracle in (*self._asked, *asked, *standing):
            self._findings.extend(oracle(self.history))
        accessors = self._accessors()
        evidence, untouched = [], []
        for fault in self.history.faults:
            found = evidence_of(self.history, fault, accessors)
            if found:
                evidence.append(found)
            elif not fault.optional:
                untouched.append(
                    f"{fault.name} (from +{fault.began:.2f} s) never touched the subject's traffic"
                )
        self.verdict = decide(self._findings, untouched, evidence)

    def abandon(self, why: str) -> None:
        """Come to a verdict on a scenario that cannot be carried out.

        It is not exercised, unless the subject did harm up to then: that is never excused.

        Args:
            why: What is missing.
        """
        for oracle in self._harmless:
            self._findings.extend(oracle(self.history))
        self.verdict = decide(self._findings, [why], [])

    @property
    def _harmless(self) -> tuple[Oracle, ...]:
        """What is promised whatever a scenario is about."""
        return oracles.stays_alive(), self._no_secret_leaked

    def _ask_again(self) -> None:
        self.until_good_read_by_asking(within=self.recovery)

    def until_good_read_by_asking(self, *, within: float) -> Operation | None:
        """Read until it works; after `within` seconds the last failure is a finding."""
        since = self.history.now()
        last: Operation | None = None
        while self.history.now() - since <= within + oracles.TOLERANCE:
            last = self.client.read()
            if last.good or last.outcome == "died":
                break
            self.history.wait_for(lambda: False, 0.2)
        if last is None or not last.good:
            said = f"{last.outcome}: {last.message}" if last else "nothing"
            self.note(
                Finding(
                    "the steady state holds again after the faults",
                    f"reads still end {said}",
                    since,
                )
            )
        return last

    def _collect(self) -> None:
        self._look_at_connections()
        if (path := self.stack.node.audit_path) and path.is_file():
            self.history.audit.extend(read_audit(path, self.history))

    def _look_at_connections(self) -> None:
        """Ask Toxiproxy which toxics acted, and when."""
        wall = self.history.wall
        self.history.touches = [
            Touch(toxic, wall(c.opened), None if c.closed is None else wall(c.closed))
            for c in self.workplace.toxiproxy.connections(self.proxy.name) or ()
            for toxic in c.toxics
        ]

    def bit(self, fault: Fault) -> bool:
        """Whether a fault has touched the subject's traffic by now."""
        self._look_at_connections()
        return evidence_of(self.history, fault, self._accessors()) is not None

    def _accessors(self) -> dict[str, str]:
        """The accessor of each token that was seen."""
        return {
            label: accessor
            for exchange in list(self.history.exchanges)
            if (label := exchange.token) and (accessor := self.recorder.accessor(label))
        }

    def _no_secret_leaked(self, _: History) -> list[Finding]:
        promise = "no secret in a log or a message"
        logs = sorted(self.directory.glob("subject-*.log"))
        leaks = [self.secrets.found_in(log.read_text(errors="replace")) for log in logs]
        findings = [
            Finding(promise, f"its log contains {', '.join(found)}", harm=True)
            for found in leaks
            if found
        ]
        if found := self.secrets.found_in(self._command_lines()):
            findings.append(Finding(promise, f"a command line has {', '.join(found)}", harm=True))
        findings += [
            Finding(promise, f"a failed {o.verb} said: {o.message[-120:]}", o.began, harm=True)
            for o in self.history.operations
            if "[contains " in o.message
        ]
        return findings[:3]

    def _command_lines(self) -> str:
        """Those of the subject's process and its children, which everybody here can read."""
        pid = self._client.subject.pid if self._client else None
        if pid is None:
            return ""
        try:
            process = psutil.Process(pid)
            lines = [
                line for p in (process, *process.children(recursive=True)) for line in p.cmdline()
            ]
        except psutil.Error:
            return ""  # it has ended
        return "\n".join(lines)

    def subject_log(self, lines: int = 8) -> str:
        """The last lines that the subject logged, without secrets."""
        texts = [
            log.read_text(errors="replace") for log in sorted(self.directory.glob("subject-*.log"))
        ]
        return self.secrets.redact("\n".join("\n".join(texts).splitlines()[-lines:]))

    def close(self) -> None:
        """End the subject, the proxy, the recorder and the Vault."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
