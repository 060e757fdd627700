"""A run goes on and keeps its exit code, even if nobody reads its output."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vault_harness.judge.plugin.progress import LossyStream


def test_a_closed_pipe_raises_nothing() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as stream:
        stream_out = LossyStream(stream)
        assert stream_out.write("a verdict\n") == len("a verdict\n")
        stream.flush()  # as Python does before each fork
        stream_out.write("another one\n" * 10_000)  # more than a buffer holds
        stream_out.flush()
        stream.flush()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_disk_that_is_full() -> None:
    with Path("/dev/full").open("w") as stream:
        stream_out = LossyStream(stream)
        stream_out.write("a verdict\n")
        stream_out.flush()
        stream.flush()


def test_a_reader_gets_each_text_once(tmp_path: Path) -> None:
    file = tmp_path / "said"
    with file.open("w", encoding="utf-8") as stream:
        stream_out = LossyStream(stream)
        assert (stream_out.encoding, stream_out.fileno()) == ("utf-8", stream.fileno())
        stream_out.write("ü")
        stream_out.flush()
        assert file.read_text(encoding="utf-8") == "ü"
