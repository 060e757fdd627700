"""Borrow with VAULTS=$(what vault-harness serve prints after "vaults at") pytest."""

import os
from typing import Any

import requests

VAULTS = os.environ.get("VAULTS", "")


def call(method: str, url: str, body: Any = None, token: str = "", namespace: str = "") -> Any:
    headers = {"X-Vault-Token": token, "X-Vault-Namespace": namespace}
    answer = requests.request(method, url, json=body, headers=headers, timeout=30)
    return answer.json() if answer.content else None


def read(vault: Any, path: str) -> Any:
    api, namespace = vault["address"] + "/v1/", vault["namespace"]
    ids = {"role_id": vault["role_id"], "secret_id": vault["secret_id"]}
    login = call("POST", api + "auth/approle/login", ids, namespace=namespace)
    if "errors" in login:
        return login["errors"]
    token = login["auth"]["client_token"]
    return call("GET", f"{api}secret/data/{path}", None, token, namespace)["data"]["data"]


def test_a_sealed_vault() -> None:
    content = {"secret": {"shop/db": {"PASSWORD": "s3cret"}}}
    vault = call("POST", VAULTS, {"whole": True, "secrets": content})
    mine = f"{VAULTS}/{vault['id']}"
    with requests.get(f"{mine}/hold", stream=True, timeout=30):  # mine as long as it is open
        assert read(vault, "shop/db") == {"PASSWORD": "s3cret"}
        fault = call("POST", f"{mine}/faults", {"fault": "seal"})
        assert read(vault, "shop/db") == ["Vault is sealed"]
        call("DELETE", f"{mine}/faults/{fault['id']}")
        assert read(vault, "shop/db") == {"PASSWORD": "s3cret"}
        call("DELETE", mine)
