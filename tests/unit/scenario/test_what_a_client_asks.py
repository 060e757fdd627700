"""Which bytes of an HTTP/2 client wait for an answer."""

from __future__ import annotations

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from vault_harness.recorder.ends import Goodbye

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.fixture
def goodbye() -> Goodbye:
    """Return the reader of a connection that has begun."""
    made = Goodbye()
    made.without(PREFACE + SettingsFrame(0, flags=["ACK"]).serialize())
    return made


@pytest.mark.parametrize(
    ("frame", "asks"),
    [
        (HeadersFrame(3, b"x"), True),
        (DataFrame(3, b"x"), True),
        (PingFrame(0, b"12345678"), True),
        (SettingsFrame(0, flags=["ACK"]), False),
        (WindowUpdateFrame(0, window_increment=9), False),
        (RstStreamFrame(3, error_code=ErrorCodes.CANCEL), False),
        (GoAwayFrame(0, error_code=ErrorCodes.CANCEL), False),
        (GoAwayFrame(0, error_code=ErrorCodes.NO_ERROR), False),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Frame) else "",
)
def test_what_waits_for_an_answer(goodbye: Goodbye, frame: Frame, asks: bool) -> None:
    """Only a request or a ping does."""
    goodbye.without(frame.serialize())
    assert goodbye.asks is asks


def test_a_ping_counts_before_another_frame(goodbye: Goodbye) -> None:
    ping, window = PingFrame(0, b"12345678"), WindowUpdateFrame(0, window_increment=9)
    goodbye.without(ping.serialize() + window.serialize())
    assert goodbye.asks


def test_the_rest_of_a_request(goodbye: Goodbye) -> None:
    """Both parts of a cut frame belong to it."""
    said = DataFrame(3, b"x" * 100).serialize()
    goodbye.without(said[:50])
    goodbye.without(said[50:])
    assert goodbye.asks
    goodbye.without(WindowUpdateFrame(0, window_increment=9).serialize())
    assert not goodbye.asks
