from __future__ import annotations

from tests.unit.scenario.conftest import Story
from vault_harness.judge.oracles import leaves_address, reaches_address, reads_at


def connected(story: Story, at: float, address: str = "") -> int:
    ordinal = story.history.note_connection(address)
    story.history.connections[-1] = at
    return ordinal


def test_good_reads_are_separated_by_their_address(story: Story) -> None:
    first, second = connected(story, 1.0), connected(story, 2.0, "127.0.0.2")
    story.sent("read", 1.1).connection = first
    story.sent("read", 2.1).connection = second
    story.sent("read", 2.2, 503).connection = second
    assert [e.began for e in reads_at(story.history, "")] == [1.1]
    assert [e.began for e in reads_at(story.history, "127.0.0.2")] == [2.1]


def test_a_client_that_follows_in_time(story: Story) -> None:
    story.sent("read", 39.0, ended=39.5).connection = connected(story, 39.0, "127.0.0.2")
    assert story.finds(reaches_address("127.0.0.2", 30.0, since=10.0)) == []


def test_a_client_that_follows_late(story: Story) -> None:
    story.sent("read", 40.0, ended=40.5).connection = connected(story, 40.0, "127.0.0.2")
    [seen] = story.finds(reaches_address("127.0.0.2", 30.0, since=10.0))
    assert seen == "the first came after 30.50 s"


def test_a_client_that_stays_where_it_was(story: Story) -> None:
    story.sent("read", 12.0).connection = connected(story, 12.0)
    [seen] = story.finds(reaches_address("127.0.0.2", 30.0, since=10.0))
    assert seen.startswith("none came up to")


def test_a_client_that_looks_back(story: Story) -> None:
    """It opens a connection to the old address."""
    connected(story, 9.0)
    connected(story, 11.0, "127.0.0.2")
    assert story.finds(leaves_address("", since=10.0)) == []
    connected(story, 12.0)
    assert story.finds(leaves_address("", since=10.0)) == ["1 connection, the first at +12.00 s"]
    assert story.finds(leaves_address("127.0.0.2", since=10.0)) == [
        "1 connection, the first at +11.00 s"
    ]
