"""Which bytes of an HTTP/2 client ask for something, so that it is kept waiting if nobody hears."""

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

from vault_harness.scenario._goodbye import Goodbye

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.fixture
def goodbye() -> Goodbye:
    """Of a connection that has begun, with an acknowledgement of its settings."""
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
    """A request and a ping do; what keeps the books of a connection does not."""
    goodbye.without(frame.serialize())
    assert goodbye.asks is asks


def test_one_that_asks_among_others(goodbye: Goodbye) -> None:
    """Whatever follows it at once."""
    ping, window = PingFrame(0, b"12345678"), WindowUpdateFrame(0, window_increment=9)
    goodbye.without(ping.serialize() + window.serialize())
    assert goodbye.asks


def test_the_rest_of_a_request(goodbye: Goodbye) -> None:
    """A frame that is cut asks with both parts, and what comes after it is another one."""
    said = DataFrame(3, b"x" * 100).serialize()
    goodbye.without(said[:50])
    goodbye.without(said[50:])
    assert goodbye.asks
    goodbye.without(WindowUpdateFrame(0, window_increment=9).serialize())
    assert not goodbye.asks
