from __future__ import annotations

import json
import socket
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from tests.running import Handler, answering
from vault_harness.errors import SettingsError, SubjectDied, SubjectError
from vault_harness.judge.subjects import (
    OperationFailed,
    SecretNotServed,
    Subject,
    check_subject,
    parse_subject,
)
from vault_harness.waiting import wait_until

Open = Callable[..., Subject]
Write = Callable[[str, str], str]

STAYS = "import threading; threading.Event().wait()"

JSON = """
[[rendered]]
path = "backend/django"
file = "django.json"
"""


@pytest.fixture
def agent(tmp_path: Path) -> Write:
    """Return a function that writes a program and its configuration and returns ``agent:`` text."""

    def write(program: str, config: str) -> str:
        (tmp_path / "program.py").write_text(textwrap.dedent(program), encoding="utf-8")
        command = json.dumps([sys.executable, "-I", "-S", "${config}/program.py", "${dir}"])
        file = tmp_path / "agent.toml"
        file.write_text(f"command = {command}\n{textwrap.dedent(config)}", encoding="utf-8")
        return f"agent:{file}"

    return write


def directory_of(one: Subject) -> Path:
    return Path(psutil.Process(one.pid).cwd())


def value_of(one: Subject, path: str = "backend/django", key: str = "K") -> str:
    """Return a value as soon as the program has rendered it."""
    found: list[str] = []

    def rendered() -> bool:
        try:
            found.append(one.read(path, key, timeout=20).value)
        except OperationFailed:
            return False
        return True

    wait_until(rendered, "a rendered secret", timeout=20)
    return found[0]


def test_a_rendered_object_has_keys(subject: Open, agent: Write) -> None:
    """It is JSON, and is read at each call."""
    one = subject(
        agent(
            f"""
            import sys
            open("django.json", "w").write('{{"K": "välue", "N": 1}}')
            {STAYS}
            """,
            JSON,
        )
    )
    assert value_of(one) == "välue"
    assert one.kind == "agent"
    assert one.capabilities == {"read", "cached"}
    assert one.read_cached("backend/django", "K", timeout=20).value == "välue"
    for key in ("N", "L"):
        with pytest.raises(OperationFailed, match=r"django\.json") as caught:
            one.read("backend/django", key, timeout=20)
        assert caught.value.outcome is None


def test_a_rendered_value_is_the_whole_file(subject: Open, agent: Write) -> None:
    """Its line ends are included."""
    config = '[[rendered]]\npath = "backend/django"\nfile = "${dir}/v"\nkey = "K"\n'
    rendered = "open('w', 'w').write('one\\ntwo\\n')\nimport os\nos.replace('w', 'v')\n"
    one = subject(agent(f"{rendered}{STAYS}", config))
    assert value_of(one) == "one\ntwo\n"


def test_half_a_file_is_a_failed_read(subject: Open, agent: Write) -> None:
    one = subject(
        agent(
            f"""
            import os
            open("new", "w").write('{{"K": "va')
            os.rename("new", "django.json")
            {STAYS}
            """,
            JSON,
        )
    )
    file = directory_of(one) / "django.json"
    wait_until(file.exists, "half a file", timeout=20)
    with pytest.raises(OperationFailed, match="cannot be read"):
        one.read("backend/django", "K", timeout=20)


def test_what_cannot_be_opened_is_a_failed_read(
    subject: Open, agent: Write, vault: tuple[str, list[str | None]]
) -> None:
    rendering = subject(agent(f"import os\nos.mkdir('django.json')\n{STAYS}", JSON))
    wait_until((directory_of(rendering) / "django.json").exists, "the folder", timeout=20)
    with pytest.raises(OperationFailed, match=r"django\.json cannot be read: IsADirectoryError"):
        rendering.read("backend/django", "K", timeout=20)
    address, tokens = vault
    sinking = subject(agent(STAYS, '[sink]\nfile = "${dir}/token"\n'), {"VAULT_ADDR": address})
    (directory_of(sinking) / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(OperationFailed, match="token cannot be read: UnicodeDecodeError") as caught:
        sinking.read("good", "K", timeout=20)
    assert (caught.value.outcome, tokens) == ("unavailable", [])


def test_a_secret_without_a_file_is_not_served(subject: Open, agent: Write) -> None:
    one = subject(agent(STAYS, JSON))
    with pytest.raises(SecretNotServed, match="does not render shared/email"):
        one.read("shared/email", "K", timeout=20)


def test_files_are_made_with_what_is_known_at_the_start(subject: Open, agent: Write) -> None:
    """They know variables, the folder and the ids."""
    one = subject(
        agent(
            f"""
            import json, pathlib
            text = pathlib.Path("made").read_text()
            secret = pathlib.Path(text.split()[1]).read_text()
            pathlib.Path("django.json").write_text(json.dumps({{"K": text.split()[0] + secret}}))
            {STAYS}
            """,
            JSON + '[files]\nmade = "$${VAULT_ADDR} ${secret_id_file} ${port}"\n',
        ),
        {"VAULT_ADDR": "http://vault.test", "VAULT_SECRET_ID": "s3cr3t"},
    )
    assert value_of(one) == "${VAULT_ADDR}s3cr3t"


def test_ids_of_other_scenarios_are_empty(subject: Open, agent: Write) -> None:
    names = [f"VAULT_{name}{end}" for name in ("ROLE_ID", "SECRET_ID") for end in ("", "_FILE")]
    text = "".join(f"[${{{name}}}]" for name in names)
    program = "import json\njson.dump({'K': open('made').read()}, open('new', 'w'))\n"
    program += f"import os\nos.rename('new', 'django.json')\n{STAYS}"
    one = subject(agent(program, JSON + f"[files]\nmade = '{text}'\n"), {"VAULT_ROLE_ID": "r0le"})
    assert value_of(one) == "[r0le][][][]"


def test_an_unknown_placeholder_says_which_are_known(subject: Open, agent: Write) -> None:
    """It is refused before anything starts."""
    text = agent(STAYS, JSON + '[files]\nmade = "${VAULT_ADR}"\n')
    with pytest.raises(SettingsError, match="VAULT_ADR") as caught:
        subject(text, {"VAULT_ADDR": "http://vault.test"})
    assert "VAULT_ADDR" in caught.value.remedy


def test_a_program_that_ends_is_dead(subject: Open, agent: Write) -> None:
    """A read tells of its death and its last lines."""
    one = subject(agent("import sys\nprint('no such role')\nsys.exit(3)", JSON))
    wait_until(lambda: not one.is_alive(), "its end", timeout=20)
    with pytest.raises(SubjectDied, match="exit code 3") as caught:
        one.read("backend/django", "K", timeout=20)
    assert "no such role" in caught.value.looked_at
    assert one.exit_code == 3


def test_its_end_is_a_signal(subject: Open, agent: Write) -> None:
    """A close sends SIGTERM and gives time to end."""
    one = subject(
        agent(
            """
            import signal, sys, threading
            signal.signal(signal.SIGTERM, lambda *_: (print("bye"), sys.exit(0)))
            open("django.json", "w").write('{"K": "v"}')
            while True:  # a signal that comes just before a wait does not end that one
                    threading.Event().wait(0.1)
            """,
            JSON,
        )
    )
    assert value_of(one) == "v"
    one.close(timeout=20)
    assert (one.exit_code, "bye" in one.logs()) == (0, True)


def test_what_it_cannot_do_is_no_answer(subject: Open, agent: Write) -> None:
    one = subject(agent(STAYS, JSON))
    with pytest.raises(SubjectError, match="cannot be asked to write"):
        one.write("backend/django", {}, timeout=20)


ANSWERS: Mapping[str, tuple[int, object]] = {
    "good": (200, {"data": {"data": {"K": "v"}, "metadata": {}}}),
    "gone": (404, {"data": {"data": None, "metadata": {"deletion_time": "now"}}}),
    "none": (404, {"errors": []}),
    "forbidden": (403, {"errors": ["permission denied"]}),
    "sealed": (503, {"errors": ["Vault is sealed"]}),
    "page": (200, "<html>"),
    "deep": (200, b"[" * 100_000),
}


class Vault(Handler):
    """A server that answers by path and keeps the token of each request."""

    tokens: list[str | None]

    def answer(self) -> None:
        self.tokens.append(self.headers["X-Vault-Token"])
        status, body = ANSWERS[self.path.rpartition("/")[2]]
        self.say(body.decode() if isinstance(body, bytes) else json.dumps(body), status)


@pytest.fixture
def vault() -> Iterator[tuple[str, list[str | None]]]:
    """Return the server's address and the tokens that it got."""
    tokens: list[str | None] = []
    with answering(type("Own", (Vault,), {"tokens": tokens})) as url:
        yield url, tokens


def test_a_listener_is_asked_without_a_token(
    subject: Open, agent: Write, vault: tuple[str, list[str | None]]
) -> None:
    """Its status gives the outcome."""
    address, tokens = vault
    one = subject(agent(STAYS, f'[listener]\nurl = "{address}"\n'))
    assert one.capabilities == {"read", "outcomes"}
    assert one.read("good", "K", timeout=20).value == "v"
    for path, key, outcome in (
        ("good", "L", "missing"),
        ("gone", "K", "deleted"),
        ("none", "K", "missing"),
        ("forbidden", "K", "denied"),
        ("sealed", "K", "unavailable"),
        ("page", "K", "unavailable"),
        ("deep", "K", "unavailable"),
    ):
        with pytest.raises(OperationFailed) as caught:
            one.read(path, key, timeout=20)
        assert (path, caught.value.outcome) == (path, outcome)
    assert set(tokens) == {None}


def test_a_listener_is_waited_for(subject: Open, agent: Write) -> None:
    """The first read waits."""
    program = """
        import http.server, json, sys

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                content = json.dumps({"data": {"data": {"K": "v"}}}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        port = int(open("port").read())
        http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
        """
    one = subject(agent(program, '[listener]\n[files]\nport = "${port}"\n'))
    assert one.read("backend/django", "K", timeout=20).value == "v"


def test_a_listener_that_is_not_there_is_an_outage(
    subject: Open, agent: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vault_harness.judge.subjects.agent.LISTENS_WITHIN", 0.1)
    one = subject(agent(STAYS, "[listener]\n"))
    with pytest.raises(OperationFailed) as caught:
        one.read("backend/django", "K", timeout=20)
    assert caught.value.outcome == "unavailable"


def test_each_read_takes_the_token_in_the_sink(
    subject: Open, agent: Write, vault: tuple[str, list[str | None]]
) -> None:
    address, tokens = vault
    one = subject(agent(STAYS, '[sink]\nfile = "${dir}/token"\n'), {"VAULT_ADDR": address})
    with pytest.raises(OperationFailed, match="token is not there"):
        one.read("good", "K", timeout=20)
    file = directory_of(one) / "token"
    for token in ("first", "second"):
        file.write_text(token + "\n")
        assert one.read("good", "K", timeout=20).value == "v"
    assert tokens == ["first", "second"]


def test_an_answer_that_never_comes_is_given_up_for_a_sink(subject: Open, agent: Write) -> None:
    """It has a timeout of its own."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environ = {"VAULT_ADDR": address, "VAULT_CLIENT_TIMEOUT": "0.3"}
        one = subject(agent(STAYS, '[sink]\nfile = "${dir}/token"\n'), environ)
        (directory_of(one) / "token").write_text("t")
        with pytest.raises(OperationFailed) as caught:
            one.read("good", "K", timeout=20)
        assert caught.value.outcome == "unavailable"
        connection, _ = silent.accept()
        with connection:
            asked = connection.recv(65536)
    assert b"connection: close" in asked.lower()  # a dead connection must not be kept


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("command = ", "cannot be read"),
        ('command = ["true"]\n', "rendered, listener and sink"),
        ('command = ["true"]\n[listener]\n[sink]\nfile = "t"\n', "rendered, listener and sink"),
        ("command = []\n[listener]\n", "command"),
        ('command = ["true"]\ncolour = 1\n[listener]\n', "colour"),
        ('command = ["true"]\n[listener]\n[files]\n"a/b" = ""\n', "no name of a file"),
        ('command = ["true"]\n[listener]\n[declares]\nmood = 1\n', "mood"),
        ('command = ["no-such-program-anywhere"]\n[listener]\n', "no-such-program-anywhere"),
        ('command = ["./no-such-program"]\n[listener]\n', "./no-such-program"),
        ('command = ["true"]\nleaves = ["dust"]\n[listener]\n', "leaves"),
        ('command = ["true"]\nleaves = ["file"]\n[listener]\n', "only an agent that renders files"),
        (
            'command = ["true"]\nleaves = ["token", "file"]\n[sink]\nfile = "t"\n',
            "only an agent that renders files",
        ),
    ],
)
def test_a_wrong_configuration_is_refused_before_anything_starts(
    tmp_path: Path, config: str, words: str
) -> None:
    """The error has its file and field."""
    file = tmp_path / "agent.toml"
    file.write_text(config)
    with pytest.raises(SettingsError) as caught:
        check_subject(parse_subject(f"agent:{file}"))
    assert words in caught.value.cause
    assert str(tmp_path) in str(caught.value.looked_at)
    assert caught.value.remedy


def test_the_line_of_a_wrong_configuration(tmp_path: Path) -> None:
    """A byte order mark is ignored."""
    file = tmp_path / "agent.toml"
    file.write_text('command = ["true"]\n\n[listener]\ncolour = 1\n', encoding="utf-8-sig")
    with pytest.raises(SettingsError, match=r"listener\.colour") as caught:
        check_subject(parse_subject(f"agent:{file}"))
    assert caught.value.looked_at == f"{file}:4"
