"""A Vault client as a developer writes it in an hour, for ``bench stranger``."""

import json
import os
import sys
from pathlib import Path

import hvac

vault = hvac.Client(url=os.environ["VAULT_ADDR"])


def credential(name: str) -> str:
    file = os.environ.get(f"{name}_FILE")
    return Path(file).read_text() if file else os.environ[name]


def read(path: str, key: str) -> str:
    """Log in before the first read, and never again."""
    if not vault.token:
        vault.auth.approle.login(credential("VAULT_ROLE_ID"), credential("VAULT_SECRET_ID"))
    mount = os.environ["VAULT_MOUNT_POINT"]
    secret = vault.secrets.kv.v2.read_secret(path, mount_point=mount, raise_on_deleted_version=True)
    return str(secret["data"]["data"][key])


for line in sys.stdin:
    asked = json.loads(line)
    said: dict[str, object] = {"ok": False}
    if asked["op"] == "read":
        try:
            said = {"ok": True, "value": read(asked["path"], asked["key"])}
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            said["message"] = type(error).__name__
    print(json.dumps({"id": asked["id"], **said}), flush=True)  # noqa: T201 - the protocol
