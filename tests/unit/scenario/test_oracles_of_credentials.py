from __future__ import annotations

from functools import partial

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.oracles import (
    accepted_again,
    credential_at_hand,
    credentials_apart,
    credentials_at_most,
    lease_renewals_at_most,
    lease_renewed_or_replaced,
    leases_renewed_within,
    no_refused_use,
    not_handed_out,
    refused_uses_at_most,
    renewals_of_a_capped_lease_at_most,
    uses_go_on,
)


def leased(story: Story, at: float, label: str = "credential-1", ttl: float = 10.0) -> None:
    story.sent("credential", at, credential=label, ttl=ttl, ended=at)


def renewed(story: Story, at: float, status: int = 200, ttl: float = 10.0) -> None:
    story.sent("lease", at, status, credential="credential-1", ttl=ttl, ended=at)


def test_count_of_credentials(story: Story) -> None:
    leased(story, 1.0)
    leased(story, 5.0)
    story.sent("credential", 6.0, 500)
    assert story.finds(credentials_at_most(2)) == []
    assert story.finds(credentials_at_most(1, since=2.0)) == []
    assert story.finds(credentials_at_most(1)) == ["2 (+1.00, +5.00)"]


def test_credentials_follow_each_other_slowly(story: Story) -> None:
    """They may at the bound, not below it."""
    leased(story, 1.0)
    leased(story, 5.0)
    assert story.finds(credentials_apart(4.0)) == []
    leased(story, 8.9)
    assert story.finds(credentials_apart(4.0)) == ["3.90 s after the one before, at +8.90 s"]


def test_credentials_of_two_paths_follow_each_other_apart(story: Story) -> None:
    leased(story, 1.0)
    other = "database/creds/readonly"
    story.sent("credential", 2.0, path=other, credential="other-1", ttl=8.0, ended=2.1)
    assert len(story.finds(credentials_apart(4.0))) == 1
    assert story.finds(credentials_apart(4.0, path=other)) == []


def test_credentials_come_with_a_login(story: Story) -> None:
    """They do not count if the login came within the time."""
    leased(story, 1.0)
    leased(story, 3.0)
    story.sent("login", 3.5, token="token-2", ended=3.6)
    leased(story, 4.5)
    assert story.finds(credentials_apart(4.0, since=0.5, around_logins=1.0)) == []
    assert story.finds(credentials_apart(4.0, since=0.5, around_logins=0.4)) == [
        "2.00 s after the one before, at +3.00 s"
    ]
    leased(story, 6.0)
    assert story.finds(credentials_apart(4.0, since=2.0, around_logins=1.0)) == []
    leased(story, 8.0)
    assert story.finds(credentials_apart(4.0, since=3.8, around_logins=1.0)) == [
        "1.50 s after the one before, at +6.00 s"
    ]


def test_no_use_at_all(story: Story) -> None:
    (seen,) = story.finds(no_refused_use())
    assert seen.startswith("nothing shows it: there was no login at the database")
    assert story.finds(no_refused_use(may_be_empty=True)) == []
    story.used(3.0, accepted=False)
    assert len(story.finds(no_refused_use(may_be_empty=True))) == 1


def test_accepted_in_time(story: Story) -> None:
    """The time when the use began counts."""
    story.used(1.0, 2.0, accepted=False)
    story.used(5.9)
    assert story.finds(accepted_again(since=1.0, within=5.0)) == []
    assert story.finds(accepted_again(since=0.5, within=5.0)) == ["the first came after 5.40 s"]


def test_every_use_is_accepted(story: Story) -> None:
    story.used(1.0, 2.0)
    story.used(3.0, accepted=False)
    assert story.finds(no_refused_use(until=2.5)) == []
    assert story.finds(no_refused_use()) == [
        "1 login refused, the first at +3.00 s with credential-1, the last at +3.00 s"
    ]


def test_a_use_under_way_at_the_end_may_be_refused(story: Story) -> None:
    story.used(1.0)
    story.used(2.495, accepted=False)
    assert story.finds(no_refused_use(until=2.5)) == []
    assert len(story.finds(no_refused_use(until=2.506))) == 1


@pytest.mark.parametrize(("at", "found"), [(9.1, 0), (10.9, 0), (11.2, 1), (8.8, 1)])
def test_a_use_may_be_refused_around_a_login(story: Story, at: float, found: int) -> None:
    """A second is granted around a login at Vault."""
    story.sent("login", 10.0, ttl=20.0, ended=10.0)
    story.used(at, accepted=False)
    assert len(story.finds(no_refused_use(around_logins=1.0))) == found


def test_uses_that_go_on(story: Story) -> None:
    """Refused and later uses fill no gap."""
    story.used(1.0, 4.0, 7.0)
    assert story.finds(uses_go_on(3.0, since=0.0, until=10.0)) == []
    story.used(8.0, accepted=False)
    story.used(11.0)
    assert story.finds(uses_go_on(3.0, since=0.0, until=10.5)) == [
        "it goes without one for 3.50 s, from +7.00 s on"
    ]


def test_no_use_is_a_gap(story: Story) -> None:
    assert story.finds(uses_go_on(3.0, since=1.0, until=4.0)) == []
    assert story.finds(uses_go_on(3.0, since=1.0, until=4.1)) == [
        "it goes without one for 3.10 s, from +1.00 s on"
    ]


def test_lease_renewed_in_time(story: Story) -> None:
    """Only lives that came to an end are judged."""
    leased(story, 0.0)
    renewed(story, 6.0)
    renewed(story, 14.0)
    assert story.finds(leases_renewed_within(0.3, 0.9, until=20.0)) == []


def test_a_look_at_a_lease_is_no_renewal(story: Story) -> None:
    """Nor is a revocation."""
    leased(story, 0.0)
    for at, path in ((0.1, "sys/leases/lookup"), (6.1, "sys/leases/lookup")):
        story.sent("lease", at, credential="credential-1", path=path, ended=at)
    renewed(story, 6.0)
    story.sent("lease", 7.0, credential="credential-1", path="sys/leases/revoke", ended=7.0)
    assert story.finds(leases_renewed_within(0.3, 0.9, until=14.0)) == []
    assert story.finds(leases_renewed_within(0.3, 0.9, until=15.1)) == [
        "credential-1, whose TTL is 10 s, was renewed never"
    ]


@pytest.mark.parametrize(
    ("at", "seen"),
    [
        ((9.1,), "credential-1, whose TTL is 10 s, was renewed after 9.10 s"),
        ((), "credential-1, whose TTL is 10 s, was renewed never"),
        ((6.0, 8.9), "renewed 2.90 s into a life of 10 s"),
    ],
)
def test_lease_not_renewed_in_time(story: Story, at: tuple[float, ...], seen: str) -> None:
    """The renewal is too late, missing or too soon."""
    leased(story, 0.0)
    for one in at:
        renewed(story, one)
    assert seen in story.finds(leases_renewed_within(0.3, 0.9, until=15.0))


@pytest.mark.parametrize("status", [502, 200])
def test_a_page_for_a_renewal_is_its_turn_and_no_life(story: Story, status: int) -> None:
    """It was tried in time."""
    leased(story, 0.0)
    page = story.sent("lease", 6.0, status, credential="credential-1", ended=6.0)
    page.interference = "lease answered"
    assert story.finds(leases_renewed_within(0.3, 0.9, until=9.5)) == []
    renewed(story, 9.4)
    assert story.finds(leases_renewed_within(0.3, 0.9, until=9.5)) == []
    assert story.finds(leases_renewed_within(0.3, 0.9, until=19.0)) == [
        "credential-1, whose TTL is 10 s, was renewed never"
    ]


def test_lease_renewed_for_too_little(story: Story) -> None:
    """A renewal must give the full TTL, up to a second less."""
    leased(story, 0.0)
    renewed(story, 6.0, ttl=9.0)
    assert story.finds(leases_renewed_within(0.3, 0.9, until=9.5)) == []
    renewed(story, 12.0, ttl=5.0)
    assert story.finds(leases_renewed_within(0.3, 0.9, until=14.0)) == [
        "renewed for 5 s of 10 s at +12.00 s"
    ]


def test_no_lease_shows_nothing(story: Story) -> None:
    assert len(story.finds(leases_renewed_within(0.3, 0.9, until=20.0))) == 1


def test_count_of_renewals_of_leases(story: Story) -> None:
    """Lookups do not count."""
    leased(story, 0.0)
    for at, status in ((5.0, 400), (5.1, 500), (6.0, 200)):
        renewed(story, at, status)
    story.sent("lease", 5.5, credential="credential-1", path="sys/leases/lookup", ended=5.5)
    assert story.finds(lease_renewals_at_most(3, since=1.0)) == []
    assert story.finds(lease_renewals_at_most(2, since=1.0, until=5.5)) == []
    assert story.finds(lease_renewals_at_most(2, since=1.0)) == ["3 (+5.00, +5.10, +6.00)"]


def test_capped_lease_is_not_renewed_on_and_on(story: Story) -> None:
    """Renewals count from the first that falls short by more than a second."""
    leased(story, 0.0)
    renewed(story, 5.0)
    renewed(story, 10.0, ttl=9.0)
    renewed(story, 14.0, ttl=5.0)
    renewed(story, 17.0, ttl=2.0)
    assert story.finds(renewals_of_a_capped_lease_at_most(2)) == []
    renewed(story, 19.5, 400)
    assert story.finds(renewals_of_a_capped_lease_at_most(2)) == [
        "3 of credential-1 (+14.00, +17.00, +19.50)"
    ]


def test_each_capped_lease_has_its_own_count(story: Story) -> None:
    for label, at in (("credential-1", 0.0), ("credential-2", 20.0)):
        leased(story, at, label)
        for later, ttl in ((5.0, 10.0), (12.0, 5.0), (15.0, 2.0)):
            story.sent("lease", at + later, credential=label, ttl=ttl, ended=at + later)
    assert story.finds(renewals_of_a_capped_lease_at_most(2)) == []


def test_each_path_has_its_own(story: Story) -> None:
    for at, path, label in ((1.0, "app", "credential-1"), (2.0, "readonly", "credential-2")):
        story.sent(
            "credential", at, path=f"database/creds/{path}", credential=label, ttl=10.0, ended=at
        )
    story.used(3.0, 6.0)
    story.used(3.0, credential="credential-2")
    story.used(5.0, credential="credential-2", accepted=False)
    app, other = "database/creds/app", "database/creds/readonly"
    for path in (app, other):
        assert story.finds(credentials_at_most(1, path=path)) == []
        assert len(story.finds(credentials_at_most(0, path=path))) == 1
    assert story.finds(no_refused_use(path=app)) == []
    assert len(story.finds(no_refused_use(path=other))) == 1
    assert story.finds(uses_go_on(3.0, since=1.0, until=7.0, path=app)) == []
    assert story.finds(uses_go_on(3.0, since=1.0, until=7.0, path=other)) == [
        "it goes without one for 4.00 s, from +3.00 s on"
    ]
    assert story.finds(accepted_again(since=4.0, within=5.0, path=app)) == []
    assert story.finds(accepted_again(since=4.0, within=5.0, path=other)) == ["there was none"]
    assert story.finds(leases_renewed_within(0.3, 0.9, until=10.5, path=app)) == [
        "credential-1, whose TTL is 10 s, was renewed never"
    ]


def test_renewed_or_replaced_in_time(story: Story) -> None:
    """It counts if it was sent in time and answered."""
    path = "database/creds/app"
    story.sent("credential", 0.0, path=path, credential="credential-1", ttl=10.0, ended=0.0)
    story.sent("lease", 5.0, credential="credential-1", ttl=10.0).closed = "client"
    asked = lease_renewed_or_replaced(path=path, since=5.0, before=10.0)
    assert story.finds(asked) == ["it had time up to +10.00 s; what was answered came never"]
    story.sent("credential", 10.5, path=path, credential="credential-2", ttl=10.0)
    assert story.finds(asked) == [
        "it had time up to +10.00 s; what was answered came 0.50 s after that"
    ]
    renewed(story, 9.0)
    assert story.finds(asked) == []


def test_calls_for_a_credential_may_fail_once_each_renewal(story: Story) -> None:
    path = "database/creds/app"
    asked = credential_at_hand(path=path, since=1.0, until=9.0)
    assert len(story.finds(asked)) == 1
    story.call(2.0, verb="lease", path=path)
    renewed(story, 3.0, 503)
    story.call(3.0, outcome="unavailable", verb="lease", path=path)
    assert story.finds(asked) == []
    story.call(4.0, outcome="unavailable", verb="lease", path=path)
    found = story.finds(asked)
    assert len(found) == 1
    assert found[0].startswith("2 of 3 calls failed (+3.00, +4.00) beside 1 renewal")


STATIC = "database/static-creds/app"


def test_an_old_password_may_be_given_up_to_the_bound(story: Story) -> None:
    for at, label in ((1.0, "credential-1"), (5.9, "credential-1"), (6.5, "credential-2")):
        story.call(at, verb="static", path=STATIC, value=label)
    assert story.finds(not_handed_out("credential-1", path=STATIC, since=6.0)) == []
    assert story.finds(not_handed_out("credential-1", path=STATIC, since=5.0)) == [
        "credential-1 was given 1 time, the last 0.90 s later than it may be"
    ]
    assert story.finds(not_handed_out("credential-1", path="other", since=5.0)) == []


def test_an_old_password_may_be_marked(story: Story) -> None:
    """It may be given later then."""
    story.call(6.0, verb="static", path=STATIC, value="credential-1", outcome="stale")
    asked = partial(not_handed_out, "credential-1", path=STATIC, since=5.0)
    assert story.finds(asked(marked=False)) == []
    assert len(story.finds(asked())) == 1


def test_count_of_refused_logins(story: Story) -> None:
    story.used(1.0, 2.0, accepted=False)
    story.used(3.0)
    story.used(4.0, accepted=False, credential="credential-9")
    assert story.finds(refused_uses_at_most(2, of="credential-1")) == []
    assert story.finds(refused_uses_at_most(1, of="credential-1")) == [
        "2 were, from +1.00 s to +2.00 s"
    ]
