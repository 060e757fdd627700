"""Vaults that are lent over HTTP to a test in any language."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.running import ran
from vault_harness.waiting import wait_until

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SECRET = {"secrets": {"secret": {"shop/db": {"PASSWORD": "s3cret"}}}}

Serving = tuple[subprocess.Popen[bytes], str]


def serving(folder: Path) -> Serving:
    """Start ``vault-harness serve``, and return it with the URL of its Vaults."""
    log = folder / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "vault_harness", "serve"],
            cwd=ROOT,
            env={**os.environ, "HARNESS_ENGINE": "process", "PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def url() -> str:
        found = re.search(r"vaults at (\S+)", log.read_text())
        return found[1] if found else ""

    wait_until(lambda: bool(url()), "the server", timeout=60, evidence=log.read_text)
    return server, url()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server, found = serving(tmp_path_factory.mktemp("serve"))
    try:
        yield found
    finally:
        server.terminate()
        assert server.wait(90) == 143


def lent(url: str, **body: Any) -> dict[str, Any]:
    answer = requests.post(url, json={**SECRET, **body}, timeout=90)
    assert answer.status_code == 201, answer.text
    return {**answer.json(), "url": f"{url}/{answer.json()['id']}"}


@pytest.fixture
def borrow(url: str) -> Iterator[Callable[..., dict[str, Any]]]:
    """Borrows Vaults, which are given back after the test."""
    vaults: list[dict[str, Any]] = []

    def one(**body: Any) -> dict[str, Any]:
        vaults.append(lent(url, **body))
        return vaults[-1]

    yield one
    for vault in vaults:
        requests.delete(vault["url"], timeout=90)


def read(vault: dict[str, Any], *, env: str = "app", timeout: float = 15) -> object:
    """Log in as a service; return the secret, or the status of a refusal."""
    variables = vault["env"][env]
    session = requests.Session()
    session.trust_env = False
    session.headers["X-Vault-Namespace"] = variables.get("VAULT_NAMESPACE", "")
    api = f"{variables['VAULT_ADDR']}/v1"
    ids = {"role_id": variables["VAULT_ROLE_ID"], "secret_id": variables["VAULT_SECRET_ID"]}
    login = session.post(f"{api}/auth/approle/login", json=ids, timeout=timeout)
    if not login.ok:
        return login.status_code
    session.headers["X-Vault-Token"] = login.json()["auth"]["client_token"]
    path = f"{variables['VAULT_MOUNT_POINT']}/data/shop/db"
    answer = session.get(f"{api}/{path}", timeout=timeout)
    return answer.json()["data"]["data"]["PASSWORD"] if answer.ok else answer.status_code


def admin(vault: dict[str, Any], method: str, path: str, **body: Any) -> requests.Response:
    """Send a request with the lent token, past the proxy."""
    headers = {"X-Vault-Token": vault["token"], "X-Vault-Namespace": vault["namespace"]}
    where = f"{vault['direct']}/v1/{path}"
    return requests.request(method, where, json=body or None, headers=headers, timeout=15)


def broken(vault: dict[str, Any], fault: str, **more: Any) -> str:
    """Break a Vault; return the URL of the fault."""
    answer = requests.post(f"{vault['url']}/faults", json={"fault": fault, **more}, timeout=60)
    assert answer.status_code == 201, answer.text
    return f"{vault['url']}/faults/{answer.json()['id']}"


Borrow = Callable[..., dict[str, Any]]


def test_what_a_borrower_gets(borrow: Borrow) -> None:
    """All that a client and an operator need, with the TTLs asked for."""
    vault = borrow(token_ttl="7s")
    assert read(vault) == "s3cret"
    assert vault["env"]["app"]["VAULT_ADDR"] == vault["address"]
    assert vault["role_id"] == vault["env"]["app"]["VAULT_ROLE_ID"]
    role = admin(vault, "GET", "auth/approle/role/app").json()["data"]
    assert role["token_ttl"] == 7


def test_mounts_and_policies_of_the_request(borrow: Borrow) -> None:
    """Without policies the AppRole may use its mounts."""
    secrets = {"kv": {"shop/db": {"PASSWORD": "other"}}}
    assert read(borrow(mounts={"kv": {}}, secrets=secrets)) == "other"
    rules = 'path "nothing" { capabilities = ["read"] }'
    assert read(borrow(policies={"shop": {"rules": rules}})) == 403


def test_a_blueprint_by_name_and_as_toml(borrow: Borrow) -> None:
    """It gives the variables of each of its services."""
    vault = borrow(blueprint="ecommerce", secrets={})
    assert {"backend", "celery_worker"} <= vault["env"].keys()
    toml = """
    name = "shop"
    mounts.secret = {}
    policies.shop.rules = 'path "secret/data/*" { capabilities = ["read"] }'
    approles.shop.policies = ["shop"]
    services.till = "shop"
    """
    assert read(borrow(blueprint=toml), env="till") == "s3cret"


def test_borrowers_do_not_meet(borrow: Borrow) -> None:
    """A borrower's token opens neither another's Vault nor the server."""
    one, other = borrow(), borrow()
    assert one["direct"] == other["direct"]
    stranger = {**one, "namespace": other["namespace"]}
    assert admin(stranger, "GET", "secret/data/shop/db").status_code == 403
    assert admin({**one, "namespace": ""}, "PUT", "sys/seal").status_code == 403
    broken(one, "cut")
    assert read(other) == "s3cret"


def test_a_cut_network_and_its_end(borrow: Borrow) -> None:
    """It lasts until it is deleted, and replaces one of the same name."""
    vault = borrow()
    broken(vault, "cut", **{"for": 600})
    fault = broken(vault, "cut")
    with pytest.raises(requests.ConnectionError):
        read(vault)
    assert requests.get(vault["url"], timeout=60).json()["faults"] == ["cut"]
    assert requests.delete(fault, timeout=60).status_code == 204
    assert read(vault) == "s3cret"
    assert requests.delete(fault, timeout=60).status_code == 404


def test_a_fault_for_a_time(borrow: Borrow) -> None:
    """With ``for`` it ends by itself."""
    vault = borrow()
    broken(vault, "cut", **{"for": 0.5})
    wait_until(
        lambda: requests.get(vault["url"], timeout=60).json()["faults"] == [],
        "the end of the fault",
        timeout=30,
    )
    assert read(vault) == "s3cret"


def test_faults_of_single_requests(borrow: Borrow) -> None:
    """Logins fail as often as asked for; DELETE of all faults ends them."""
    vault = borrow()
    broken(vault, "fail", target="login", status=500, first=1)
    assert [read(vault), read(vault)] == [500, "s3cret"]
    broken(vault, "fail", target="read", status=418)
    broken(vault, "latency", milliseconds=60_000)
    with pytest.raises(requests.Timeout):
        read(vault, timeout=0.5)
    assert requests.delete(f"{vault['url']}/faults", timeout=60).status_code == 204
    assert read(vault) == "s3cret"


@pytest.mark.parametrize("fault", ["seal", "pause"])
def test_a_whole_server_is_broken(borrow: Borrow, fault: str) -> None:
    """Only a borrower with a server of its own may seal and freeze it."""
    shared = borrow()
    refused = requests.post(f"{shared['url']}/faults", json={"fault": fault}, timeout=60)
    assert (refused.status_code, "whole" in refused.json()["remedy"]) == (409, True)
    vault = borrow(whole=True)
    at = broken(vault, fault)
    if fault == "seal":
        assert read(vault) == 503
    else:
        with pytest.raises(requests.Timeout):
            read(vault, timeout=0.5)
    assert requests.delete(at, timeout=60).status_code == 204
    assert read(vault) == "s3cret"
    assert read(shared) == "s3cret"


@pytest.mark.parametrize("whole", [False, True])
def test_a_reset(borrow: Borrow, whole: bool) -> None:
    """The same ids log in at the same address."""
    vault = borrow(whole=whole)
    broken(vault, "cut")
    data = {"PASSWORD": "changed"}
    admin(vault, "POST", "secret/data/shop/db", data=data)
    admin(vault, "POST", "secret/data/shop/more", data=data)
    admin(vault, "POST", "sys/policies/acl/app", policy='path "x" { capabilities = ["read"] }')
    admin(vault, "POST", "sys/policies/acl/more", policy='path "x" { capabilities = ["read"] }')
    admin(vault, "POST", "sys/mounts/more", type="kv")
    admin(vault, "POST", "auth/approle/role/more", policies=["more"])
    answer = requests.post(f"{vault['url']}/reset", timeout=60)
    assert (answer.status_code, answer.json()["token"]) == (200, vault["token"])
    assert answer.json()["address"] == vault["address"]
    assert read(vault) == "s3cret"
    assert admin(vault, "GET", "secret/data/shop/more").status_code == 404
    assert "more" not in admin(vault, "LIST", "sys/policies/acl").json()["data"]["keys"]
    assert "more/" not in admin(vault, "GET", "sys/mounts").json()["data"]
    assert admin(vault, "LIST", "auth/approle/role").json()["data"]["keys"] == ["app"]


def test_many_at_once(borrow: Borrow) -> None:
    """Borrowers do not wait for each other's mistakes."""
    with ThreadPoolExecutor(8) as pool:
        vaults = list(pool.map(lambda _: borrow(), range(8)))
        assert list(pool.map(read, vaults)) == ["s3cret"] * 8
    assert len({vault["namespace"] for vault in vaults}) == 8


def test_a_vault_that_is_given_back(borrow: Borrow) -> None:
    """Its address refuses, its namespace is gone, and it is not known any more."""
    vault = borrow()
    assert requests.delete(vault["url"], timeout=60).status_code == 204
    with pytest.raises(requests.ConnectionError):
        read(vault)
    assert admin(vault, "GET", "secret/data/shop/db").status_code in {403, 404}
    gone = requests.get(vault["url"], timeout=60)
    assert (gone.status_code, gone.json().keys()) == (
        404,
        {"error", "cause", "looked_at", "remedy"},
    )


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("", {"blueprint": "nowhere"}, "ecommerce"),
        ("", {"blueprint": "name = \n"}, "correct"),
        ("", {"mount": {}}, "did you mean mounts?"),
        ("", {"token_ttl": "soon"}, "correct"),
        ("", {"mounts": 5}, "correct"),
        ("", {"whole": 1}, "true"),
        ("/faults", {"fault": "cutt"}, "did you mean cut?"),
        ("/faults", {"fault": "latency", "milli": 5}, "it takes milliseconds, jitter, for"),
        ("/faults", {"fault": "fail", "target": "lgin"}, "login"),
        ("/faults", {"fault": "latency", "milliseconds": "many"}, "it takes milliseconds"),
        ("/faults", {"fault": "cut", "for": -1}, "it takes for"),
        ("/faults", {"fault": "cut", "for": 1e300}, "it takes for"),
    ],
)
def test_wrong_requests(borrow: Borrow, url: str, path: str, body: Any, said: str) -> None:
    """The answer tells what is wrong, where, and what to do."""
    at = borrow()["url"] + path if path else url
    answer = requests.post(at, json=body, timeout=60)
    assert answer.status_code == 400
    told = answer.json()
    assert told["cause"]
    assert told["looked_at"] == "the body of the request"
    assert said in told["remedy"]


def test_only_who_knows_the_url_borrows(url: str) -> None:
    base = url.rpartition("/")[0].rpartition("/")[0]
    assert requests.post(f"{base}/guessed/vaults", json={}, timeout=60).status_code == 403


BORROWER = """
import sys, time, urllib.request
hold = urllib.request.urlopen(sys.argv[1] + "/hold")
print("held", flush=True)
time.sleep(600)
"""


@pytest.mark.slow  # waits until an unheld Vault is taken back
def test_a_borrower_that_dies_loses_its_vault(url: str) -> None:
    """A held Vault outlives the silence that ends another; it ends with its borrower."""
    held, forgotten = lent(url), lent(url)

    def here() -> list[str]:
        return list(requests.get(url, timeout=60).json()["vaults"])

    words = [sys.executable, "-c", BORROWER, held["url"]]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as borrower:
        assert borrower.stdout is not None
        assert borrower.stdout.readline() == b"held\n"
        wait_until(lambda: forgotten["id"] not in here(), "the end of the silent one", timeout=60)
        assert held["id"] in here()
        assert read(held) == "s3cret"
        borrower.kill()
    began = time.monotonic()
    wait_until(lambda: held["id"] not in here(), "the end of the held one", timeout=60)
    assert time.monotonic() - began < 30
    with pytest.raises(requests.ConnectionError):
        read(held)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_runs_after_the_end(tmp_path: Path, number: signal.Signals) -> None:
    """After SIGTERM or kill -9 no Vault, proxy or recorder is left."""
    server, url = serving(tmp_path)
    vaults = [lent(url), lent(url, whole=True)]
    for vault in vaults:
        broken(vault, "fail", target="login")
    with requests.get(f"{vaults[0]['url']}/hold", stream=True, timeout=60):
        children = psutil.Process(server.pid).children(recursive=True)
        assert len(children) >= 3  # two Vaults and a Toxiproxy
        server.send_signal(number)
        server.wait(90)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
    for address in {vault[name] for vault in vaults for name in ("direct", "address")}:
        with pytest.raises(requests.ConnectionError):
            requests.get(address, timeout=15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "command", "folder"),
    [
        ("python", [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], "lending"),
        ("go", ["go", "test", "-count=1", "."], "lending"),
        ("java", ["java", "-ea", "Lending.java"], "lending"),
        ("node", ["node", "--test", "lending.test.mjs"], "lending"),
        ("cargo", ["cargo", "test", "--locked", "--test", "lending"], "rust"),
    ],
)
def test_examples(url: str, tool: str, command: list[str], folder: str) -> None:
    """Each language borrows a Vault, breaks it, sees that, mends it, and gives it back."""
    if shutil.which(tool) is None and tool != "python":
        pytest.skip(f"{tool} is not here")
    words = [*command, "borrower.py"] if tool == "python" else command
    done = ran(
        words, cwd=HERE / folder, env={**os.environ, "VAULTS": url, "HARNESS_ENGINE": "process"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert requests.get(url, timeout=60).json()["vaults"] == []


def test_examples_are_short() -> None:
    files = [file for file in (HERE / "lending").iterdir() if file.is_file()]
    assert len(files) == 6  # five, and go.mod
    assert all(len(file.read_text().splitlines()) <= 40 for file in files)
