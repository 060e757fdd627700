"""Secrets are spoken of by label, and found wherever they stand."""

from __future__ import annotations

import threading

from vault_harness.scenario._secrets import SHORTEST, Secrets


def test_labels_are_counted_by_kind() -> None:
    """Unless a name is given."""
    secrets = Secrets()
    assert secrets.add("token", "s.aaaaaaaa") == "token-1"
    assert secrets.add("token", "s.bbbbbbbb") == "token-2"
    assert secrets.add("secret-id", "cccccccc") == "secret-id-1"
    assert secrets.add("secret", "canary-v1", "v1") == "v1"


def test_known_secret_keeps_its_label() -> None:
    """Seen again, under another kind or name, it is the same."""
    secrets = Secrets()
    secrets.add("token", "s.aaaaaaaa", "root token")
    assert secrets.add("token", "s.aaaaaaaa") == "root token"
    assert secrets.add("secret", "s.aaaaaaaa", "v1") == "root token"
    assert secrets.add("token", "s.bbbbbbbb") == "token-1"


def test_both_ways() -> None:
    """From value to label and back; None for what is unknown."""
    secrets = Secrets()
    label = secrets.add("token", "s.aaaaaaaa")
    assert (secrets.label("s.aaaaaaaa"), secrets.value(label)) == (label, "s.aaaaaaaa")
    assert (secrets.label("s.bbbbbbbb"), secrets.value("token-9")) == (None, None)


def test_redaction() -> None:
    """Every occurrence of every secret, and nothing else."""
    secrets = Secrets()
    secrets.add("token", "s.aaaaaaaa")
    secrets.add("secret", "canary-v1-1234", "v1")
    text = "token s.aaaaaaaa, again s.aaaaaaaa; value 'canary-v1-1234'!"
    assert secrets.redact(text) == "token <token-1>, again <token-1>; value '<v1>'!"
    assert secrets.redact("nothing") == "nothing"


def test_longest_first() -> None:
    """A secret that holds another is replaced whole, whichever was known first."""
    for order in (("abcdefgh", "abcdefgh-longer"), ("abcdefgh-longer", "abcdefgh")):
        secrets = Secrets()
        for value in order:
            secrets.add("secret", value, f"{len(value)}")
        assert secrets.redact("abcdefgh-longer and abcdefgh") == "<15> and <8>"


def test_short_values_are_no_secrets() -> None:
    """A four-letter password is in every text."""
    secrets = Secrets()
    secrets.add("secret", "x" * (SHORTEST - 1))
    assert secrets.redact("x" * 20) == "x" * 20
    assert secrets.found_in("x" * 20) == []
    secrets.add("secret", "x" * SHORTEST)
    assert secrets.found_in("x" * 20) == ["secret-2"]


def test_what_is_found() -> None:
    """Labels, sorted, each once."""
    secrets = Secrets()
    for name in ("b", "a"):
        secrets.add("secret", name * 10, name)
    assert secrets.found_in(f"{'b' * 10} {'a' * 10} {'b' * 10}") == ["a", "b"]


def test_repr_tells_a_number() -> None:
    """And no secret."""
    secrets = Secrets()
    secrets.add("token", "s.aaaaaaaa")
    assert repr(secrets) == "<Secrets: 1 known>"


def test_many_threads() -> None:
    """Each secret gets one label, however many learn it at once."""
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
