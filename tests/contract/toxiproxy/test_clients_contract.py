"""Published clients drive both servers: Python's, upstream's command line, and npm's."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from toxiproxy import Toxiproxy as PythonClient
from toxiproxy.api import APIConsumer
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

from tests.running import ran

if TYPE_CHECKING:
    from tests.contract.toxiproxy.conftest import Lab, Wire

NOWHERE = "127.0.0.1:9"


@pytest.fixture
def python_client(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> PythonClient:
    """The address holds for the whole process."""
    monkeypatch.setattr(APIConsumer, "host", lab.server.host_port[0])
    monkeypatch.setattr(APIConsumer, "port", lab.server.host_port[1])
    return PythonClient()


def test_toxiproxy_python(lab: Lab, python_client: PythonClient, wire: type[Wire]) -> None:
    upstream = lab.upstream()
    name = lab.name()
    assert python_client.running()
    assert b"version" in python_client.version()
    proxy = python_client.create(upstream=upstream.address, name=name)
    assert python_client.get_proxy(name).listen == proxy.listen
    with pytest.raises(ProxyExists):
        python_client.create(upstream=upstream.address, name=name)
    host, port = proxy.listen.split(":")
    proxy.add_toxic(type="latency", attributes={"latency": 5}, stream="upstream", toxicity=0.5)
    proxy.add_toxic(type="limit_data", name="limit", attributes={"bytes": 3})
    with pytest.raises(ProxyExists):
        proxy.add_toxic(type="limit_data", name="limit")
    with pytest.raises(InvalidToxic):
        proxy.add_toxic(type="nonsense")
    toxics = proxy.toxics()
    assert toxics["latency_upstream"].attributes == {"latency": 5, "jitter": 0}
    assert toxics["latency_upstream"].toxicity == 0.5
    with socket.create_connection((host, int(port)), timeout=15) as client:
        server = upstream.accept()
        server.sendall(b"abcdef")
        assert wire.read_all(client) == b"abc"
        server.close()
    assert proxy.destroy_toxic("limit")
    with proxy.down(), pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))
    socket.create_connection((host, int(port))).close()
    assert python_client.reset()
    assert proxy.toxics() == {}
    again = python_client.populate([{"name": name, "upstream": NOWHERE, "listen": proxy.listen}])
    assert [made.upstream for made in again] == [NOWHERE]
    assert python_client.destroy(again[0])
    with pytest.raises(NotFound):
        again[0].destroy()


def test_upstream_s_command_line(lab: Lab, cli: Path) -> None:
    """It prints upstream's text without a terminal."""
    name = lab.name()
    lab.stack.callback(lambda: lab.call("DELETE", f"/proxies/{name}"))

    def run(*arguments: str, fails: bool = False) -> str:
        done = subprocess.run(
            [cli, "--host", lab.server.url, *arguments], capture_output=True, text=True, timeout=30
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    made = run("create", "-l", "127.0.0.1:0", "-u", NOWHERE, name)
    assert made.strip() == f"Created new proxy {name}"
    listen = lab.toxiproxy.proxy(name).listen
    assert f"{name}\t{listen}\t{NOWHERE}\tenabled\t0" in run("list").splitlines()
    assert "409: proxy already exists" in run("create", "-l", ":0", "-u", NOWHERE, name, fails=True)
    added = run("toxic", "add", "-t", "latency", "-a", "latency=7", "-a", "jitter=5", name)
    assert added.strip() == f"Added downstream latency toxic 'latency_downstream' on proxy '{name}'"
    assert "409: toxic already exists" in run("toxic", "add", "-t", "latency", name, fails=True)
    inspected = run("inspect", name)
    assert "latency_downstream\ttype=latency\tstream=downstream\ttoxicity=1.00" in inspected
    assert "attributes=[\tjitter=5\tlatency=7\t]" in inspected
    run("toxic", "update", "-n", "latency_downstream", "--tox", "0.25", "-a", "jitter=9", name)
    (toxic,) = lab.toxiproxy.proxy(name).toxics()
    assert (toxic.toxicity, toxic.attributes.as_json()) == (0.25, {"latency": 7, "jitter": 9})
    removed = run("toxic", "remove", "-n", "latency_downstream", name)
    assert removed.strip() == f"Removed toxic 'latency_downstream' on proxy '{name}'"
    missing = run("toxic", "remove", "-n", "latency_downstream", name, fails=True)
    assert "404: toxic not found" in missing
    assert run("toggle", name).strip() == f"Proxy {name} is now disabled"
    assert run("toggle", name).strip() == f"Proxy {name} is now enabled"
    assert run("delete", name).strip() == f"Deleted proxy {name}"
    assert "404: proxy not found" in run("inspect", name, fails=True)


NODE_SCRIPT = """
const { Toxiproxy } = require("toxiproxy-node-client");
const [url, name, upstream] = process.argv.slice(2);
(async () => {
  const client = new Toxiproxy(url);
  const proxy = await client.createProxy({ name, listen: "127.0.0.1:0", upstream });
  const toxic = await proxy.addToxic({
    name: "late", type: "latency", stream: "upstream", toxicity: 0.5,
    attributes: { latency: 5, jitter: 2 },
  });
  const shown = await client.get(name);
  const shownToxic = await shown.getToxic("late");
  await toxic.update({ ...toxic.toJson(), toxicity: 1 });
  await proxy.update({ ...proxy.toJson(), enabled: false });
  const updated = await client.get(name);
  const updatedToxic = await updated.getToxic("late");
  await toxic.remove();
  let conflict = "none";
  try { await client.createProxy({ name, listen: "127.0.0.1:0", upstream }); }
  catch (error) { conflict = String(error.message || error); }
  await client.reset();
  const reset = await client.get(name);
  await proxy.remove();
  const all = await client.getAll();
  const names = Array.isArray(all) ? all.map((p) => p.name) : Object.keys(all);
  console.log(JSON.stringify({
    listen: shown.listen, toxics: [shownToxic.name, shownToxic.toxicity],
    updated: updatedToxic.toxicity, disabled: updated.enabled,
    enabled: reset.enabled, conflict, gone: !names.includes(name),
  }));
})().catch((error) => { console.error(error); process.exit(1); });
"""


@pytest.fixture(scope="session")
def node_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("no node and npm on PATH")
    folder = tmp_path_factory.mktemp("node")
    (folder / "drive.js").write_text(NODE_SCRIPT)
    (folder / "package.json").write_text('{"private": true}')
    done = ran([npm, "install", "--no-audit", "--no-fund", "toxiproxy-node-client@4"], cwd=folder)
    if done.returncode:
        pytest.skip(f"npm could not install toxiproxy-node-client: {done.stderr.strip()[-200:]}")
    return folder


@pytest.mark.slow
def test_toxiproxy_node_client(lab: Lab, node_project: Path) -> None:
    name = lab.name()
    lab.stack.callback(lambda: lab.call("DELETE", f"/proxies/{name}"))
    done = ran(["node", "drive.js", lab.server.url, name, NOWHERE], cwd=node_project)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["listen"].startswith("127.0.0.1:")
    assert answer["toxics"] == ["late", 0.5]
    assert answer["updated"] == 1
    assert (answer["disabled"], answer["enabled"], answer["gone"]) == (False, True, True)
    assert "409" in answer["conflict"] or "exists" in answer["conflict"]
