"""A small agent: logs in, renders two secrets into files, ends with its token.

Its second argument names its defect; ``whole`` has none. It runs without this project's packages.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

DIRECTORY, FAULT = Path(sys.argv[1]), sys.argv[2]
SECRETS = {"backend/django": "SECRET_KEY", "shared/email": "EMAIL_HOST_PASSWORD"}
EVERY = 0.3
over = threading.Event()


def ask(method: str, path: str, token: str = "", body: object = None) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310 - the address is the scenario's own
        f"{os.environ['VAULT_ADDR']}/v1/{path}",
        method=method,
        headers={"X-Vault-Token": token} if token else {},
        data=None if body is None else json.dumps(body).encode(),
    )
    with urllib.request.urlopen(request, timeout=2) as answer:  # noqa: S310 - as above
        found: dict[str, Any] = json.loads(answer.read() or b"{}")
        return found


def log_in() -> str:
    ids = {name: (DIRECTORY / name).read_text() for name in ("role_id", "secret_id")}
    return str(ask("POST", "auth/approle/login", body=ids)["auth"]["client_token"])


def place(file: Path, text: str) -> None:
    """Replace the file that applications read, all at once."""
    if FAULT == "in-place":
        with file.open("w") as opened:
            opened.write(text[: len(text) // 2])
            opened.flush()
            over.wait(0.1)
            opened.write(text[len(text) // 2 :])
        return
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def render(token: str, kept: dict[str, list[str]]) -> None:
    for path, key in SECRETS.items():
        file = DIRECTORY / path.replace("/", "-")
        if FAULT == "once" and file.exists():
            continue
        try:
            answer = ask("GET", f"{os.environ['VAULT_MOUNT_POINT']}/data/{path}", token)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            file.unlink(missing_ok=True)
            continue
        rendered = kept.setdefault(path, [])
        rendered.append(answer["data"]["data"][key])
        if FAULT == "no-value" and len(rendered) % 5 == 4:
            place(file, "<no value>")  # what a template prints for a missing key
        elif FAULT == "older" and len(rendered) % 5 == 4:
            place(file, rendered[0])
        else:
            place(file, rendered[-1])


signal.signal(signal.SIGTERM, lambda *_: over.set())
token = ""
kept: dict[str, list[str]] = {}
while not over.wait(EVERY):
    try:
        token = token or log_in()
        render(token, kept)
    except OSError as error:
        sys.stderr.write(f"{type(error).__name__}\n")
if token:
    ask("POST", "auth/token/revoke-self", token)
