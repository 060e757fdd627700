from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.oracles import Oracle, nobody_waits, reads_go_on, renewals_hold_up_nobody

PATH = "backend/django"


def asked() -> Oracle:
    """Return the oracle that asks for a good read every 4 s from 10 s to 20 s."""
    return reads_go_on(4.0, since=10.0, until=20.0, path=PATH)


def test_reads_that_go_on(story: Story) -> None:
    story.calls(13.9, 17.8)
    assert story.finds(asked()) == []


@pytest.mark.parametrize(
    ("began", "said"),
    [
        ([], "none came for 10.00 s, from +10.00 s on"),
        ([14.5, 18.0], "none came for 4.51 s, from +10.00 s on"),
        ([12.0, 16.5], "none came for 4.50 s, from +12.01 s on"),
        ([12.0, 15.0], "none came for 4.99 s, from +15.01 s on"),
    ],
)
def test_waits_that_are_too_long(story: Story, began: list[float], said: str) -> None:
    story.calls(*began)
    assert story.finds(asked()) == [said]


def test_what_is_no_good_read_of_that_secret(story: Story) -> None:
    """Failures and reads of other secrets fill no gap."""
    story.calls(12.0, 15.0, 18.0, outcome="unavailable")
    for at in (12.0, 15.0, 18.0):
        story.call(at, path="backend/celery")
    assert story.finds(asked()) == ["none came for 10.00 s, from +10.00 s on"]


# A renewal hangs from 10 s to 13 s, and the token is near its end at 19 s.


def beside(story: Story) -> list[str]:
    """Return what is found with a bound of one second."""
    return story.finds(renewals_hold_up_nobody(1.0, since=5.0, until=19.0))


def test_reads_that_a_renewal_holds_up_for_a_moment(story: Story) -> None:
    story.sent("renew", 10.0, ended=13.0)
    story.call(9.0, 11.0)
    story.call(11.5, 12.5)
    story.call(12.2, 15.0)
    assert beside(story) == []


def test_one_read_may_carry_the_renewal(story: Story) -> None:
    """A second one may not."""
    story.sent("renew", 10.0, ended=13.0)
    story.call(9.99, 13.01)
    story.call(10.2)
    assert beside(story) == []
    story.call(10.5, 13.0)
    assert beside(story) == [
        "2 of 3 reads waited or failed (+9.99, +10.50) beside 1 renewal (+10.00)"
    ]


def test_each_renewal_may_have_its_carrier(story: Story) -> None:
    """Each renewal that hangs may hold up one read."""
    story.sent("renew", 10.0, status=None, ended=12.0, closed="client")
    story.sent("renew", 14.0, ended=17.0)
    story.call(9.99, 12.0, outcome="unavailable")
    story.call(13.99, 17.01)
    assert beside(story) == []


def test_what_is_waited_for_two_renewals_is_one_wait(story: Story) -> None:
    for at in (10.0, 10.9, 11.8):
        story.sent("renew", at, status=None, ended=at + 0.8, closed="client")
    for at in (10.0, 10.1, 10.2, 10.3):
        story.call(at, 13.0)
    assert beside(story) == [
        (
            "4 of 4 reads waited or failed (+10.00, +10.10, +10.20, +10.30) beside 3 renewals "
            "(+10.00, +10.90, +11.80)"
        )
    ]


def test_reads_that_fail_beside_a_renewal(story: Story) -> None:
    """They count, however quickly they fail."""
    story.sent("renew", 10.0, ended=13.0)
    story.calls(11.0, 12.0, outcome="unavailable")
    assert beside(story) == [
        "2 of 2 reads waited or failed (+11.00, +12.00) beside 1 renewal (+10.00)"
    ]


def test_reads_at_the_end_of_a_token(story: Story) -> None:
    """They may wait for a new token."""
    story.sent("renew", 18.0, ended=21.0)
    story.call(18.5)
    story.call(19.1, 21.0)
    story.call(19.2, 21.0)
    assert beside(story) == []


def test_only_calls_beside_a_leases_renewal_count(story: Story) -> None:
    """Only calls for a credential count."""

    def found() -> list[str]:
        return story.finds(renewals_hold_up_nobody(1.0, since=5.0, until=19.0, of="lease"))

    story.sent("renew", 10.0, ended=13.0)
    story.sent("lease", 10.0, ended=13.0, path="sys/leases/lookup")
    story.call(10.0, 13.0)
    assert found() == [
        (
            "nothing shows it: there was no call for a credential beside a renewal between +5.00 "
            "and +19.00 s"
        )
    ]
    story.sent("lease", 10.0, ended=13.0, path="sys/leases/renew")
    story.call(10.0, 13.0, verb="lease")
    assert found() == []
    story.call(10.5, 13.0, verb="lease")
    assert found() == ["2 of 2 calls waited or failed (+10.00, +10.50) beside 1 renewal (+10.00)"]


# One secret is slow from 10 s to 13 s.


def of_others(story: Story) -> list[str]:
    """Return what is found for readers of another secret with a bound of 0.5 s."""
    return story.finds(nobody_waits(0.5, since=10.0, until=13.0, of=[PATH]))


def test_reads_beside_a_slow_secret(story: Story) -> None:
    """Earlier reads and the slow secret do not count."""
    story.call(9.9, 11.9)
    story.call(10.0, 13.0, path="backend/celery")
    story.call(11.0, 11.5)
    story.call(12.0, 12.1, verb="read_cached")
    assert of_others(story) == []


def test_reads_that_a_slow_secret_holds_up(story: Story) -> None:
    """The worst is told; a failed read is worse than a slow one."""
    story.call(10.0, 10.7)
    story.call(11.0, 12.4, verb="read_cached")
    story.call(12.0, 12.1)
    assert of_others(story) == [
        "2 of 3 reads waited or failed (+10.00, +11.00), the worst of backend/django"
    ]
    story.call(12.9, 12.95, "unavailable")
    (found,) = nobody_waits(0.5, since=10.0, until=13.0, of=[PATH])(story.history)
    assert (found.at, found.missed) == (12.9, None)


def test_only_calls_for_the_other_paths_credential_count(story: Story) -> None:
    def found() -> list[str]:
        return story.finds(
            nobody_waits(0.5, since=10.0, until=13.0, of=["database/creds/app"], what="credential")
        )

    story.call(11.0, 12.9)
    story.call(10.0, 12.9, verb="lease", path="database/creds/readonly")
    assert "there was no call" in found()[0]
    story.call(11.0, 11.5, verb="lease", path="database/creds/app")
    assert found() == []
    story.call(11.5, 12.9, verb="lease", path="database/creds/app")
    assert found() == ["1 of 2 calls waited or failed (+11.50), the worst of database/creds/app"]
