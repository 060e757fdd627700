from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from vault_harness.recorder import secrets as secrets_module
from vault_harness.recorder.secrets import SHORTEST, Secrets


def test_labels_are_counted_by_kind() -> None:
    """A given name needs no count."""
    secrets = Secrets()
    assert secrets.add("token", "s.aaaaaaaa") == "token-1"
    assert secrets.add("token", "s.bbbbbbbb") == "token-2"
    assert secrets.add("secret-id", "cccccccc") == "secret-id-1"
    assert secrets.add("secret", "canary-v1", "v1") == "v1"


def test_known_secret_keeps_its_label() -> None:
    secrets = Secrets()
    secrets.add("token", "s.aaaaaaaa", "root token")
    assert secrets.add("token", "s.aaaaaaaa") == "root token"
    assert secrets.add("secret", "s.aaaaaaaa", "v1") == "root token"
    assert secrets.add("token", "s.bbbbbbbb") == "token-1"


def test_a_value_has_a_label_and_a_label_its_value() -> None:
    """Unknown ones are None."""
    secrets = Secrets()
    label = secrets.add("token", "s.aaaaaaaa")
    assert (secrets.label("s.aaaaaaaa"), secrets.value(label)) == (label, "s.aaaaaaaa")
    assert (secrets.label("s.bbbbbbbb"), secrets.value("token-9")) == (None, None)


def test_value_belongs_to_a_key() -> None:
    """Equal values of two keys have two labels."""
    secrets = Secrets()
    assert secrets.add_value("p", "user", "same-1234", "p:v1") == "p:v1"
    assert secrets.add_value("p", "name", "same-1234", "p:v2") == "p:v2"
    assert secrets.add_value("p", "password", "other-1234", "p:v1") == "p:v1"
    found = [secrets.value_label("p", key, "same-1234") for key in ("user", "name", "password")]
    assert found == ["p:v1", "p:v2", "p:v1 of user"]
    assert secrets.value_label("p", "user", "other-1234") == "p:v1 of password"
    assert secrets.value_label("q", "password", "other-1234") == "p:v1"
    assert secrets.value_label("p", "user", "nobody-wrote-it") is None


def test_value_that_is_no_secret() -> None:
    """It has a label at its path, and is not hidden."""
    secrets = Secrets()
    secrets.add_value("p", "port", "5432-5432", "p:v1", secret=False)
    assert secrets.value_label("p", "port", "5432-5432") == "p:v1"
    assert secrets.value_label("q", "port", "5432-5432") is None
    assert secrets.redact("port 5432-5432") == "port 5432-5432"


def test_value_with_nothing_in_it() -> None:
    """It has a label, and is not hidden."""
    secrets = Secrets()
    secrets.add_value("p", "notes", "", "p:v1")
    assert secrets.value_label("p", "notes", "") == "p:v1"
    assert secrets.label("") is None
    assert (secrets.redact("a text"), secrets.found_in("a text")) == ("a text", [])


ONE = "canary-v1-0123456789abcdef01"
URL = "postgresql://backend:geheim@db.internal:5432/ecommerce"
HIDDEN = "postgresql://backend:***@db.internal:5432/ecommerce"
TEAM = "https://vault.internal:8200/v1/team@home"
USER = "https://user@db.internal:5432/of/a/team@home"
KEY = f"-----BEGIN PRIVATE KEY-----\n{'MIIEvQIB' * 8}\nAgEAMA==\n-----END PRIVATE KEY-----\n"
FIRST, LINE, SHORT, *_ = KEY.splitlines()
A, B, LONGER = "a" * 10, "b" * 10, f"{'a' * 10}-longer"
HALVES, BOTH = (14, 20, 27), "<half of 0> and <half of 0>"
TINY, LEAST = "x" * (SHORTEST - 1), "x" * SHORTEST


@pytest.mark.parametrize(
    ("known", "text", "found", "redacted"),
    [
        ([ONE], "nothing", [], "nothing"),
        ([ONE], f"{ONE}, again '{ONE}'!", ["0"], "<0>, again '<0>'!"),
        ([B, A], f"{B} {A} {B}", ["0", "1"], "<0> <1> <0>"),
        ([A, B], f"{B} {A} {B}", ["0", "1"], "<1> <0> <1>"),
        ([A, LONGER], f"{LONGER} and {A}", ["0", "1"], "<1> and <0>"),
        ([LONGER, A], f"{LONGER} and {A}", ["0", "1"], "<0> and <1>"),
        ([TINY], TINY * 2, [], TINY * 2),
        ([TINY, LEAST], LEAST, ["1"], "<1>"),
        *(([ONE], f"{ONE[:n]} and {ONE[:n]}", ["half of 0"], BOTH) for n in HALVES),
        *(([ONE], f"{ONE[-n:]} and {ONE[-n:]}", ["half of 0"], BOTH) for n in HALVES),
        ([ONE], ONE[:13], [], ONE[:13]),
        ([ONE], f"{ONE[15:]} {ONE[:13]}", [], f"{ONE[15:]} {ONE[:13]}"),
        ([ONE, f"{ONE[:20]}-another"], f"got {ONE}", ["0"], "got <0>"),
        ([URL], HIDDEN, [], HIDDEN),
        ([URL], f"got {URL[: URL.index('@')]}", ["half of 0"], "got <half of 0>"),
        ([URL], f"got {URL[:40]}", ["half of 0"], "got <half of 0>"),
        ([URL], URL[: URL.index("m@")], [], URL[: URL.index("m@")]),
        ([USER], USER[:33], [], USER[:33]),
        ([TEAM], TEAM[:35], [], TEAM[:35]),
        ([KEY], f"  {LINE}", ["a line of 0"], "  <a line of 0>"),
        ([KEY], f"no {FIRST} there", [], f"no {FIRST} there"),
        ([KEY], SHORT, [], SHORT),
        ([KEY], f"got {KEY}", ["0"], "got <0>"),
    ],
)
def test_what_is_found(known: list[str], text: str, found: list[str], redacted: str) -> None:
    """Secrets, halves, passwords of URLs and long lines are found, by their place in `known`.

    Short ones occur in any text. Scheme, user and host of a URL may be shown.
    """
    secrets = Secrets()
    for number, value in enumerate(known):
        secrets.add("secret", value, str(number))
    assert secrets.found_in(text) == found
    assert secrets.redact(text) == redacted


@pytest.mark.parametrize("written", [json.dumps, repr, str])
@pytest.mark.parametrize("value", ['a"b' * 5, "a\\b" * 5, "a'\"b" * 5, "\u00fc" * 12, KEY])
def test_secret_is_found_however_it_is_written(value: str, written: Callable[[str], str]) -> None:
    """JSON and `repr` escape it."""
    secrets = Secrets()
    secrets.add("secret", value, "v1")
    text = f"got {written(value)}."
    assert secrets.found_in(text) == ["v1"]
    assert secrets.redact(text).strip("got .'\"") == "<v1>"


def in_go(value: str) -> str:
    """Return JSON as Go's `encoding/json` writes it."""
    plain = json.dumps(value, ensure_ascii=False)
    return plain.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def in_php(value: str) -> str:
    """Return JSON as PHP's `json_encode` writes it."""
    return json.dumps(value).replace("/", r"\/")


@pytest.mark.parametrize("written", [in_go, in_php])
@pytest.mark.parametrize("value", ["a&b<c>d/e", "\u00fc&\u00fc/" * 9, f"{KEY}/&", URL])
def test_secret_is_found_as_other_languages_write_it(
    value: str, written: Callable[[str], str]
) -> None:
    secrets = Secrets()
    secrets.add("secret", value, "v1")
    text = f"got {written(value)}."
    assert secrets.found_in(text) == ["v1"]
    assert secrets.redact(text) == 'got "<v1>".'
    if value.startswith("\u00fc"):
        cut = written(value)[:-12]
        assert secrets.found_in(cut) == ["half of v1"]


@pytest.mark.parametrize("written", [json.dumps, repr, in_go, in_php])
def test_line_is_found_however_it_is_written(written: Callable[[str], str]) -> None:
    secrets = Secrets()
    line = 'password = "a\'b\\c&d/e\u00fc" # of the till'
    secrets.add("secret", f"[till]\n{line}\n", "v1")
    text = f"got {written(line)}"
    assert secrets.found_in(text) == ["a line of v1"]
    assert secrets.redact(text).strip("got '\"") == "<a line of v1>"


@pytest.mark.parametrize("written", [str, in_php])
def test_host_of_a_url_is_no_half_however_it_is_written(written: Callable[[str], str]) -> None:
    """Its password is half of a secret."""
    secrets = Secrets()
    secrets.add("secret", URL, "url")
    assert secrets.found_in(written("postgresql://backend:***@db.internal:5432/ecommerce")) == []
    begun = written(URL[:40])
    assert secrets.found_in(begun) == ["half of url"]
    assert secrets.redact(begun).strip('"') == "<half of url>"


def in_base64(value: str) -> str:
    """Return Base64, as Kubernetes shows a secret."""
    return base64.b64encode(value.encode()).decode()


def in_base64_of_urls(value: str) -> str:
    """Return Base64 for URLs, without padding."""
    return base64.urlsafe_b64encode(value.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "written", [in_base64, in_base64_of_urls, quote, quote_plus, lambda value: quote(value, "")]
)
@pytest.mark.parametrize("value", ["s.aaaaaaaa", ONE, "\u00fc?>~ a/b" * 3, URL, KEY])
def test_secret_is_found_however_it_is_encoded(value: str, written: Callable[[str], str]) -> None:
    secrets = Secrets()
    secrets.add("secret", value, "v1")
    text = f"got {written(value)}."
    assert secrets.found_in(text) == ["v1"]
    assert secrets.redact(text).rstrip("=.") == "got <v1>"
    assert written(value) not in secrets.redact(json.dumps([text]))


def test_short_values_are_no_secrets_however_they_are_encoded() -> None:
    secrets = Secrets()
    for value in ("x" * (SHORTEST - 1), "a/b c"):
        secrets.add("secret", value)
        for written in (in_base64, quote_plus):
            assert secrets.found_in(written(value) * 2) == []


def test_beginning_of_a_url_is_no_half_however_it_is_encoded() -> None:
    secrets = Secrets()
    secrets.add("secret", URL, "url")
    assert secrets.found_in(quote("postgresql://backend:***@db.internal:5432/", "")) == []


def test_message_needs_nothing_of_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searching it for escaped forms would be slow."""
    monkeypatch.setattr(
        secrets_module, "_in_json", lambda _: pytest.fail("it is looked for in JSON")
    )
    secrets = Secrets()
    for number in range(3):
        secrets.add("token", f"s.aaaaaaa{number}")
        assert secrets.redact(f"s.aaaaaaa{number}") == f"<token-{number + 1}>"


def test_the_repr_has_the_number_of_secrets() -> None:
    secrets = Secrets()
    secrets.add("token", "s.aaaaaaaa")
    assert repr(secrets) == "<Secrets: 1 known>"


def test_many_threads() -> None:
    """Each secret gets one label."""
    secrets = Secrets()
    labels: list[str] = []

    def learn() -> None:
        labels.extend(secrets.add("token", f"s.token-{n}") for n in range(200))
        assert secrets.redact("s.token-7") == f"<{labels[7]}>"

    threads = [threading.Thread(target=learn) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(labels) == 1600
    assert len(set(labels)) == 200
