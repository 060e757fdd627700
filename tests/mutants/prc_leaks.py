"""Clients that break PRC-04, 06 or 08: secrets, threads, files and connections that leak."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import IO, ClassVar

from resilient_vault_client import VaultError
from tests.mutants.clients import (
    IgnoresRetryAfter,
    LeavesAThreadForEachFailure,
    Mutant,
    Tolerated,
    Writes,
    _kept_open,
    _KeyByKeyAsEver,
    by_name,
)
from tests.mutants.login_clients import LooksUpItsOldToken
from tests.mutants.reference_clients import Tweaked
from tests.subjects.lazy_client import Credentials, LazyClient, Token, _mark, log
from tests.subjects.lazy_wire import (
    DeniedError,
    GivenUpError,
    Reply,
    UnavailableError,
    Wire,
    is_whole,
)

# PRC-04


class LogsItsToken(LazyClient):
    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        log.debug("got token %s", token.value)
        return token


class LogsACutAnswer(Wire):
    """Logs an answer that it cannot parse, and half of a secret with it."""

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        received = super()._exchange(request, deadline)
        if not is_whole(bytearray(received)):
            log.warning("cannot make anything of %r", received)
        return received


class LogsAnUnreadableLoginAnswer(Wire):
    """Logs the answer to its login if it cannot parse it, and a token with it."""

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        received = super()._exchange(request, deadline)
        content = received.partition(b"\r\n\r\n")[2]
        if b"/login " in request and is_whole(bytearray(received)):
            try:
                json.loads(content or b"{}")
            except ValueError:
                log.error("the login's answer is no JSON: %s", content.decode(errors="replace"))
        return received


class LogsAFailedWrite(Tweaked):
    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except VaultError as error:
            log.error("PUT %s %r failed: %s", path, dict(data), error)
            raise


class RaisesAnErrorWithItsSecretId(LazyClient):
    """Puts what it sent into its error."""

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(deadline)
        except DeniedError as error:
            raise DeniedError(f"{error}: {self._credentials.current()}") from None


class PassesItsTokenAsAnArgument(LazyClient):
    """Passes each token to a helper program as an argument. The helper ends with it."""

    _helper: subprocess.Popen[bytes] | None = None

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._end_helper()
        waits = [sys.executable, "-c", "import sys; sys.stdin.read()", f"--token={token.value}"]
        self._helper = subprocess.Popen(waits, stdin=subprocess.PIPE)
        return token

    def _end_helper(self) -> None:
        if self._helper is not None:
            self._helper.communicate(b"")

    def close(self) -> None:
        super().close()
        self._end_helper()


class LogsTheSecondHalfOfItsToken(LazyClient):
    """Masks only the first half of its token in its log."""

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        half = len(token.value) // 2
        log.info("logged in with %s%s", "*" * half, token.value[half:])
        return token


class ChainsAnErrorWithItsRequest(LazyClient):
    """Raises its own error for a denial, whose cause carries the request and the token."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except DeniedError as error:
            self._wrap(error)
            raise DeniedError("the policy denies it") from error

    def _wrap(self, error: DeniedError) -> None:
        if (held := self._token) is not None:
            asked = SimpleNamespace(method="GET", headers={"X-Vault-Token": held.value})
            error.request = asked  # type: ignore[attr-defined]  # as requests does


class ChainsAnErrorWithItsRoleIdAndSecretId(LazyClient):
    """Raises a short message of its own, in the context of an error with both ids."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except DeniedError as error:
            try:
                raise ValueError(f"denied to {self._credentials.current()}: {error}")
            except ValueError:
                raise DeniedError("the policy denies it")  # noqa: B904 - that is its fault


class UsesTheTokenOfItsHome(LazyClient):
    """Reads with the token of the home folder if it cannot log in, as a command line would."""

    def _fetch(self, path: str, deadline: float) -> Reply:
        try:
            return super()._fetch(path, deadline)
        except (DeniedError, UnavailableError):
            file = Path("~/.vault-token").expanduser()
            if self._token is not None or not file.exists():
                raise
            there = file.read_text(encoding="ascii").strip()
            stranger = Token(there, 60.0, 60.0, renewable=False, batch=True, uses=0)
            return self._ask("GET", f"{self._mount}/data/{path}", deadline, stranger)


class KeepsItsTokenInAReadableFile(LazyClient):
    mode = 0o644

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        handle, name = tempfile.mkstemp(prefix="token-")
        os.close(handle)
        self._file = Path(name)
        self._file.chmod(self.mode)

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._file.write_text(token.value, encoding="ascii")
        return token

    def close(self) -> None:
        super().close()
        self._file.unlink(missing_ok=True)


class LogsWholeSecrets(_KeyByKeyAsEver):
    def read_all(self, path: str) -> dict[str, str]:
        found = super().read_all(path)
        log.debug("%s is %r", path, found)
        return found


class ChainsAnErrorWithoutItsRequest(ChainsAnErrorWithItsRequest):
    def _wrap(self, error: DeniedError) -> None:
        pass


# PRC-06


class LeavesARenewerForEachLogin(LazyClient):
    """Starts a thread that renews with each login, and does not end the one before."""

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        threading.Thread(target=self._wait_for_the_end, name="renewer", daemon=True).start()
        return token

    def _wait_for_the_end(self) -> None:
        while not self._closed:
            time.sleep(0.2)


class LeavesAThreadForEachFailedLogin(LazyClient):
    """Starts a thread to log in again, and also logs in itself. The threads never end."""

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(deadline)
        except GivenUpError:  # no request was sent
            raise
        except UnavailableError:
            threading.Thread(target=threading.Event().wait, args=(600.0,), daemon=True).start()
            raise


class LeavesAConnectionForEach404(LazyClient):
    """Leaves the body unread, as a Go function that returns before it defers the close."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._left: list[socket.socket] = []

    def _fetch(self, path: str, deadline: float) -> Reply:
        reply = super()._fetch(path, deadline)
        if reply.status == 404:
            self._left.append(_kept_open(self._wire, deadline))
        return reply

    def close(self) -> None:
        super().close()
        for kept in self._left:
            kept.close()


class LeavesAConnectionForEachWrite(Writes):
    """Leaves the body unread. Tests of reads do not notice."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._left: list[socket.socket] = []

    def write(self, path: str, data: Mapping[str, str]) -> None:
        super().write(path, data)
        self._left.append(_kept_open(self._wire, time.monotonic() + self._deadline))

    def close(self) -> None:
        super().close()
        for kept in self._left:
            kept.close()


class LeavesEachFailedConnectionOpen(Wire):
    """Closes a connection only if all went well."""

    _kept: ClassVar[list[socket.socket]] = []

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        peer = socket.create_connection((self._host, self._port), timeout=1.0)
        self._kept.append(peer)
        peer.settimeout(max(0.01, deadline - time.monotonic()))
        peer.sendall(request)
        received = bytearray()
        while not is_whole(received):
            piece = peer.recv(65536)
            if not piece:
                return bytes(received)
            received += piece
        peer.close()
        return bytes(received)


class _Noting(Wire):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.seen = threading.local()

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = super()._exchange(request, deadline)
        self.seen.status = int(raw[9:12]) if raw[9:12].isdigit() else 0
        return raw


class _RefusedForGood(Credentials):
    def usable(self, secret_id: str) -> bool:
        return not self._failed.get(_mark(secret_id))


class TreatsAGatewayPageAsARefusal(LazyClient):
    """Takes every 403 or 404 for a refusal of its secret-id."""

    wire_type, credentials_type = _Noting, _RefusedForGood
    refusals: ClassVar[Collection[int]] = (403, 404)

    def _log_in(self, deadline: float) -> Token:
        assert isinstance(self._wire, _Noting)
        self._wire.seen.status = 0
        try:
            return super()._log_in(deadline)
        except UnavailableError:
            if self._wire.seen.status not in self.refusals:
                raise
            self._credentials.refused(self._credentials.current()[1])
            raise DeniedError("Vault does not take this secret-id") from None


class LeavesFiveThreadsOnce(LazyClient):
    """Starts them with its third token."""

    left = 5
    _tokens = 0

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._tokens += 1
        for _ in range(self.left if self._tokens == 3 else 0):
            threading.Thread(target=threading.Event().wait, args=(600.0,), daemon=True).start()
        return token


# PRC-08


class LeavesItsThreadWhenClosed(LazyClient):
    most = 99
    _left: ClassVar[dict[str, int]] = {}

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        vault = environ["VAULT_ADDR"]
        self._left[vault] = self._left.get(vault, 0) + 1
        if self._left[vault] <= self.most:
            threading.Thread(target=threading.Event().wait, args=(120.0,), daemon=True).start()


class LeavesAFileWhenClosed(LazyClient):
    """Keeps a lock file open for the life of its process, one for each client."""

    _kept: ClassVar[list[IO[bytes]]] = []

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept.append(Path("/proc/self/status").open("rb"))  # noqa: SIM115 - as above


class LeavesItsConnectionOpenWhenClosed(LazyClient):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: list[socket.socket] = []

    def read(self, path: str, key: str) -> str:
        value = super().read(path, key)
        if not self._kept:
            self._kept.append(_kept_open(self._wire, time.monotonic() + self._deadline))
        return value


class SharesThreads(LazyClient):
    """Has threads that all clients of its process share, and that no client's end stops."""

    _threads: ClassVar[list[threading.Thread]] = []

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        while len(self._threads) < 9:
            thread = threading.Thread(target=threading.Event().wait, daemon=True)
            thread.start()
            self._threads.append(thread)


MUTANTS = by_name(
    Mutant(LogsItsToken, "PRC-04", "token"),
    Mutant(LogsACutAnswer, "PRC-04", "half of v1"),
    Mutant(LogsAnUnreadableLoginAnswer, "PRC-04", "token of a login that is cut"),
    Mutant(LogsAFailedWrite, "PRC-04", "its log has written-"),
    Mutant(RaisesAnErrorWithItsSecretId, "PRC-04", "secret-id"),
    Mutant(PassesItsTokenAsAnArgument, "PRC-04", "a command line has token-", process=True),
    Mutant(LogsTheSecondHalfOfItsToken, "PRC-04", "its log has half of token-"),
    Mutant(ChainsAnErrorWithItsRequest, "PRC-04", "in __cause__.request.headers"),
    Mutant(ChainsAnErrorWithItsRoleIdAndSecretId, "PRC-04", "in __context__"),
    Mutant(UsesTheTokenOfItsHome, "PRC-04", "the token of the home folder is not used").called(
        "reads-with-the-token-of-the-home-folder"
    ),
    Mutant(KeepsItsTokenInAReadableFile, "PRC-04", "nobody else can read a secret"),
    Mutant(LogsWholeSecrets, "PRC-04", "its log has v1"),
    Mutant(LeavesAThreadForEachFailure, "PRC-06", "leave nothing behind").called(
        "leaves-a-thread-for-each-fault"
    ),
    Mutant(LeavesARenewerForEachLogin, "PRC-06", "threads: ").called(
        "leaves-a-thread-for-each-login"
    ),
    Mutant(LeavesAThreadForEachFailedLogin, "PRC-06", "leave nothing behind"),
    Mutant(IgnoresRetryAfter, "PRC-06", "Retry-After is obeyed by each login").called(
        "logs-in-despite-retry-after"
    ),
    Mutant(LeavesAConnectionForEach404, "PRC-06", "connections: "),
    Mutant(LeavesAConnectionForEachWrite, "PRC-06", "connections: "),
    Mutant(LeavesEachFailedConnectionOpen, "PRC-06", "leave nothing behind"),
    Mutant(TreatsAGatewayPageAsARefusal, "PRC-06", "a good read within").called(
        "treats-a-gateway-page-as-a-refused-secret-id"
    ),
    Mutant(LeavesFiveThreadsOnce, "PRC-06", "leave nothing behind").called(
        "leaves-nine-threads-once", left=9
    ),
    Mutant(LooksUpItsOldToken, "PRC-06", "known to be dead").called(
        "looks-up-its-old-token-through-all-faults"
    ),
    Mutant(LeavesItsThreadWhenClosed, "PRC-08", "threads: "),
    Mutant(LeavesAFileWhenClosed, "PRC-08", "open files: "),
    Mutant(LeavesItsConnectionOpenWhenClosed, "PRC-08", "connections: "),
)


TOLERATED = by_name(
    Tolerated(ChainsAnErrorWithoutItsRequest, "PRC-04"),
    Tolerated(KeepsItsTokenInAReadableFile, "PRC-04").called(
        "keeps-its-token-in-a-private-file", mode=384
    ),
    Tolerated(LooksUpItsOldToken, "PRC-04").called("looks-up-its-old-token-and-logs-nothing"),
    Tolerated(LeavesFiveThreadsOnce, "PRC-06"),
    # Leaves five threads at most, like a pool of the process: two of them in its first lives.
    Tolerated(LeavesItsThreadWhenClosed, "PRC-08").called(
        "leaves-five-threads-when-closed", most=5, _left={}
    ),
    Tolerated(SharesThreads, "PRC-08"),
)
