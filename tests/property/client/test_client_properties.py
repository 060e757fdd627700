"""Promises of the client for every path, pause, cut id and answer."""

from __future__ import annotations

import json
import tempfile
import uuid
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from resilient_vault_client import Config, InvalidPath, VaultError
from resilient_vault_client._credentials import CredentialSource
from resilient_vault_client._deadline import Backoff
from resilient_vault_client._memory import clean_path
from resilient_vault_client._translate import from_answer


@given(st.text(max_size=60))
def test_a_path_leads_nowhere_else(path: str) -> None:
    """It is refused, or has no segment that leads up."""
    try:
        cleaned = clean_path(path)
    except InvalidPath:
        return
    assert clean_path(cleaned) == cleaned
    assert not {"", ".", ".."} & set(cleaned.split("/"))
    assert not any(char in cleaned for char in "?#%\\\n\r\0")


@given(
    cap=st.floats(0.05, 600),
    ttl=st.none() | st.floats(0.5, 100_000),
    known=st.booleans(),
    steps=st.integers(1, 40),
)
def test_pauses_grow_to_the_cap(cap: float, ttl: float | None, known: bool, steps: int) -> None:
    backoff = Backoff(cap)
    if known:
        backoff.learn(ttl)
    assert backoff.cap <= cap
    if known and ttl is not None:
        assert backoff.cap <= ttl / 5 + 1e-9
    pause = backoff.next(None)
    for _ in range(steps):
        longer = backoff.next(pause)
        assert 0 < longer <= backoff.cap
        assert longer >= min(1.2 * pause, 0.8 * backoff.cap) * 0.999
        pause = longer


@given(st.uuids(), st.integers(0, 35), st.uuids())
def test_no_beginning_of_an_id_is_used(new: uuid.UUID, length: int, old: uuid.UUID) -> None:
    """Wherever a write of the file is cut, the last good id stays in use."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "id"
        source = CredentialSource(Config(role_id="role", secret_id_file=file), {})
        file.write_text(str(old))
        assert source.load().secret_id == str(old)
        file.write_text(str(new)[:length])
        assert source.load().secret_id == str(old)
        file.write_text(str(new))
        assert source.load().secret_id == str(new)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    status=st.integers(400, 599),
    body=st.binary(max_size=60)
    | st.builds(
        lambda value: json.dumps(value).encode(), JSON | st.fixed_dictionaries({"errors": JSON})
    ),
    retry=st.text(max_size=6),
)
def test_any_answer_is_an_error(status: int, body: bytes, retry: str) -> None:
    """The error is the client's own."""
    error = from_answer(status, body, {"Retry-After": retry}, address="http://vault")
    assert isinstance(error, VaultError)
    assert error.retry_in is None or error.retry_in >= 0
    assert len(str(error)) < 600


@given(st.text(min_size=4, max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_a_token_is_never_repeated(token: str, before: str, after: str) -> None:
    """A server repeats it."""
    body = json.dumps({"errors": [before + token + after]}).encode()
    error = from_answer(500, body, {}, address="", hide=(token,))
    squeezed = " ".join(token.split())
    if squeezed == token and token not in "[hidden] failed: status 500...":
        assert token not in str(error).replace("[hidden]", "")
