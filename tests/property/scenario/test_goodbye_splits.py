"""However the bytes of an HTTP/2 client are cut, only its goodbye is removed."""

from __future__ import annotations

from h2.connection import H2Connection
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, GoAwayFrame, PingFrame
from hypothesis import given
from hypothesis import strategies as st

from vault_harness.recorder.ends import Goodbye


def _begun() -> bytes:
    client = H2Connection()
    client.initiate_connection()
    return client.data_to_send()


REQUEST = DataFrame(1, b"\x00\x00\x08\x07" * 9).serialize()
POLITE = GoAwayFrame(0, error_code=ErrorCodes.NO_ERROR, additional_data=b"bye").serialize()
ANGRY = GoAwayFrame(0, error_code=ErrorCodes.CANCEL).serialize()
AFTER = PingFrame(0, b"12345678").serialize()


@given(st.booleans(), st.lists(st.integers(0, 10_000), max_size=12))
def test_any_split_passes_alike(polite: bool, cuts: list[int]) -> None:
    """A goodbye for an error passes like everything else."""
    said = _begun() + REQUEST + (POLITE if polite else ANGRY) + AFTER
    places = sorted({cut % len(said) for cut in cuts} - {0})
    goodbye = Goodbye()
    passed = b"".join(
        goodbye.without(said[a:b]) for a, b in zip([0, *places], [*places, len(said)], strict=True)
    )
    assert passed == _begun() + REQUEST + (b"" if polite else ANGRY) + AFTER
    assert goodbye.said is polite
