"""A run whose output nobody reads any more: it goes on, and its code is that of its verdicts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vault_harness.plugin._heedless import Heedless


def test_a_reader_who_has_gone() -> None:
    """Nothing is raised, then or at the stream's end, when the interpreter flushes it."""
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as stream:
        heedless = Heedless(stream)
        assert heedless.write("a verdict\n") == len("a verdict\n")
        stream.flush()  # as Python does it before each fork
        heedless.write("another one\n" * 10_000)  # more than a buffer holds
        heedless.flush()
        stream.flush()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_disk_that_is_full() -> None:
    """The same."""
    with Path("/dev/full").open("w") as stream:
        heedless = Heedless(stream)
        heedless.write("a verdict\n")
        heedless.flush()
        stream.flush()


def test_who_reads_has_all(tmp_path: Path) -> None:
    """Each text once; all else is the stream's own."""
    file = tmp_path / "said"
    with file.open("w", encoding="utf-8") as stream:
        heedless = Heedless(stream)
        assert (heedless.encoding, heedless.fileno()) == ("utf-8", stream.fileno())
        heedless.write("ü")
        heedless.flush()
        assert file.read_text(encoding="utf-8") == "ü"
