from __future__ import annotations

from tests.unit.scenario.conftest import Story
from vault_harness.judge.oracles import (
    bad_logins_at_most,
    logins_at_most,
    logins_with_one_secret_id_at_most,
    logs_in_again,
    renews_within,
    replaced_before_the_end,
    same_token,
)
from vault_harness.recorder.fault import Signature


def test_one_login_too_many(story: Story) -> None:
    """Only accepted logins count."""
    story.several("login", 1.0, 3.0)
    story.several("login", 2.0, status=400)
    story.several("login", 4.0, status=None)
    assert story.finds(logins_at_most(2)) == []
    assert story.finds(logins_at_most(1)) == ["2 logins (+1.00, +3.00)"]


def test_login_in_its_turn_is_no_excess(story: Story) -> None:
    """It may come from 0.3 of a life on, or be the first after its end."""
    for at in (1.0, 4.5, 8.0, 30.0):
        story.sent("login", at, ttl=10.0)
    assert story.finds(logins_at_most(0, since=2.0)) == []
    assert story.finds(logins_at_most(0)) == ["1 login (+1.00)"]


def test_logins_of_several_are_in_the_place_of_each_ones_own(story: Story) -> None:
    story.history.clients = 3
    for at in (1.0, 1.1, 1.2, 6.0, 6.1, 6.2):
        story.sent("login", at, ttl=10.0)
    assert story.finds(logins_at_most(3)) == []
    story.sent("login", 6.3, ttl=10.0)
    assert story.finds(logins_at_most(3)) == ["4 logins (+1.00, +1.10, +1.20, +6.30)"]


def test_logins_after_a_fault_are_no_profile(story: Story) -> None:
    for at in (1.0, 12.0, 12.5, 13.0):
        story.sent("login", at, ttl=60.0)
    story.fault(Signature())
    assert len(story.finds(logins_at_most(1, since=10.0))) == 1
    assert len(story.finds(same_token(since=10.0))) == 1


def test_loop_of_logins_is_no_profile(story: Story) -> None:
    """Logins for each call are accepted if their tokens are used."""
    for n in range(6):
        story.sent("login", 1.0 + n, ttl=60.0, token=f"token-{n}")
        story.sent("read", 1.1 + n, token=f"token-{n}")
    assert story.finds(logins_at_most(1)) == []
    for n in range(7):
        story.sent("login", 8.0 + n / 100, ttl=60.0, token=f"wasted-{n}")
    assert len(story.finds(logins_at_most(1))) == 1


def test_style_of_a_look_before_each_read(story: Story) -> None:
    """It may let its token end."""
    story.sent("login", 0.0, ttl=10.0)
    for at in (1.0, 2.0, 3.0):
        story.call(at, at + 0.1)
    asked = (renews_within(0.3, 0.9, until=20.0), replaced_before_the_end(until=20.0))
    story.several("lookup", 0.9, 1.5, 1.9, 2.5, 2.9)
    assert all(story.finds(oracle) for oracle in asked), "looks at its own pace are no profile"
    story.several("lookup", 1.05, 2.05, 3.05)
    assert not any(story.finds(oracle) for oracle in asked)


def test_many_times_are_cut(story: Story) -> None:
    """A finding lists six times."""
    story.several("login", *map(float, range(1, 21)))
    assert story.finds(logins_at_most(0)) == [
        "20 logins (+1.00, +2.00, +3.00, +4.00, +5.00, +6.00 and 14 more)"
    ]


def test_login_again_in_time(story: Story) -> None:
    story.several("login", 10.0 + 2.0)
    assert story.finds(logs_in_again(since=10.0, within=2.0)) == []


def test_no_login_again(story: Story) -> None:
    """An earlier, late or refused login does not count."""
    story.several("login", 9.0)
    assert story.finds(logs_in_again(since=10.0, within=2.0)) == ["there was none"]
    story.several("login", 12.1)
    story.several("login", 11.0, status=503)
    assert story.finds(logs_in_again(since=10.0, within=2.0)) == [
        "2 were tried (+12.10, +11.00), none was accepted in time"
    ]


def test_refused_logins_are_counted_by_secret_id(story: Story) -> None:
    """Other answers do not count."""
    for label in ("secret-id-1", "secret-id-2"):
        for at in (1.0, 2.0, 3.0, 4.0):
            story.sent("login", at, 400, secret_id=label)
    story.sent("login", 5.0, 503, secret_id="secret-id-1")
    story.sent("login", 6.0, None, secret_id="secret-id-1")
    story.sent("login", 7.0, 200, secret_id="secret-id-1")
    assert story.finds(bad_logins_at_most(4)) == []


def test_secret_id_that_is_hammered(story: Story) -> None:
    """The fifth refused login is a finding; a 403 counts as well."""
    for at in (1.0, 2.0, 3.0, 4.0, 5.0):
        story.sent("login", at, 400, secret_id="secret-id-1")
    story.sent("login", 6.0, 403, secret_id="secret-id-1")
    (finding,) = bad_logins_at_most(4)(story.history)
    assert finding.seen.startswith("6 with secret-id-1 (+1.00")
    assert finding.at == 5.0
    assert story.finds(bad_logins_at_most(4, since=2.5)) == []


def tried(story: Story, *moments: float) -> None:
    for at in moments:
        story.sent("login", at, 400, secret_id="secret-id-1")


def test_secret_id_that_would_be_hammered(story: Story) -> None:
    """The pace would lock the role within 15 minutes."""
    tried(story, 10.0, 14.7, 19.4)
    assert story.finds(bad_logins_at_most(4)) == [], "three are three"
    assert story.finds(bad_logins_at_most(4, watched=26.0)) == [
        (
            "3 with secret-id-1 (+10.00, +14.70, +19.40), and the last pause of 4.7 s leads to 192 "
            "in 15 minutes"
        )
    ]


def test_client_that_has_stopped_trying(story: Story) -> None:
    """It is quiet for 1.5 times its last pause."""
    tried(story, 10.0)
    assert story.finds(bad_logins_at_most(4, watched=60.0)) == []
    tried(story, 14.0, 22.0)
    assert story.finds(bad_logins_at_most(4, watched=34.0)) == []
    assert len(story.finds(bad_logins_at_most(4, watched=33.9))) == 1


def test_pause_is_between_bursts_of_tries(story: Story) -> None:
    tried(story, 10.0, 10.2, 18.5, 18.9)
    assert story.finds(bad_logins_at_most(4, watched=30.5)) == [
        (
            "4 with secret-id-1 (+10.00, +10.20, +18.50, +18.90), and the last pause of 8.3 s "
            "leads to 111 in 15 minutes"
        )
    ]
    assert story.finds(bad_logins_at_most(4, watched=31.5)) == [], "1.5 times that, and no try"


def test_a_single_burst_has_no_pace(story: Story) -> None:
    tried(story, 10.0, 10.2, 10.4, 10.6)
    assert story.finds(bad_logins_at_most(4, watched=10.7)) == []


def test_pace_that_locks_nothing(story: Story) -> None:
    """A try every five minutes locks no role."""
    tried(story, 10.0, 310.0)
    assert len(story.finds(bad_logins_at_most(3, watched=400.0))) == 1
    assert story.finds(bad_logins_at_most(4, watched=400.0)) == []


def test_new_secret_id_ends_the_watch(story: Story) -> None:
    tried(story, 10.0, 60.0)
    assert story.finds(bad_logins_at_most(4, watched=30.0)) == []


def test_logins_without_a_secret_id_are_one_of_a_kind(story: Story) -> None:
    story.several("login", 1.0, 2.0, status=400)
    assert story.finds(bad_logins_at_most(1)) == ["2 with no secret-id (+1.00, +2.00)"]


def test_secret_id_of_one_use(story: Story) -> None:
    story.sent("login", 1.0, secret_id="secret-id-1")
    story.sent("login", 2.0, secret_id="secret-id-2")
    assert story.finds(logins_with_one_secret_id_at_most(1)) == []
    story.sent("login", 3.0, None, secret_id="secret-id-2")
    assert story.finds(logins_with_one_secret_id_at_most(1)) == [
        "2 with secret-id-2 (+2.00, +3.00)"
    ]


def test_token_thrown_away(story: Story) -> None:
    """A refused login shows it."""
    story.several("login", 5.0, status=503)
    assert story.finds(same_token(since=2.0)) == ["1 login (+5.00)"]
    assert story.finds(same_token(since=2.0, until=4.0)) == []


def test_token_thrown_away_at_a_denial(story: Story) -> None:
    """While Vault opens, the first login after a denial is excused."""
    story.sent("read", 4.9, 403)
    story.several("login", 5.0)
    assert story.finds(same_token(since=2.0)) == ["1 login (+5.00)"]
    assert story.finds(same_token(since=2.0, opened=4.85)) == []
    assert story.finds(same_token(since=2.0, opened=4.75)) == ["1 login (+5.00)"]
    story.several("login", 6.0)
    assert story.finds(same_token(since=2.0, opened=4.85)) == ["1 login (+6.00)"]


def test_token_thrown_away_before_a_denial(story: Story) -> None:
    story.several("login", 4.0)
    story.sent("read", 4.5, 403)
    assert story.finds(same_token(since=2.0, opened=5.0)) == ["1 login (+4.00)"]


def test_token_thrown_away_at_a_refused_login(story: Story) -> None:
    """A refused login is no denial."""
    story.several("login", 4.0, status=403)
    story.several("login", 5.0)
    assert len(story.finds(same_token(since=2.0, opened=5.0))) == 1


def test_token_replaced_in_its_turn(story: Story) -> None:
    """It may be from 0.3 of a life on, answered or not."""
    story.sent("login", 1.0, ttl=100.0)
    story.sent("login", 31.5, None)
    story.sent("login", 31.9, ttl=100.0)
    assert story.finds(same_token(since=2.0)) == []
    story.sent("login", 61.0, ttl=100.0)
    assert story.finds(same_token(since=2.0)) == ["1 login (+61.00)"]


def test_one_failed_try_for_each_life_is_granted(story: Story) -> None:
    """A loop is not."""
    story.sent("login", 1.0, ttl=100.0)
    story.several("login", 31.5, status=403)
    story.sent("login", 32.0, ttl=100.0)
    story.several("login", 65.0, status=403)
    assert story.finds(same_token(since=2.0)) == []
    story.several("login", 65.5, 66.0, 66.5, status=403)
    assert story.finds(same_token(since=2.0)) == ["3 logins (+65.50, +66.00, +66.50)"]


def test_token_whose_turn_comes_in_an_outage(story: Story) -> None:
    """Without an answer it may be repeated."""
    story.sent("login", 1.0, ttl=100.0)
    story.several("login", 31.5, 31.9, status=503)
    story.sent("login", 32.3, None)
    story.sent("login", 32.7, 403, by="stub")
    story.sent("login", 33.0, ttl=100.0)
    assert story.finds(same_token(since=2.0)) == []


def test_token_replaced_in_place_of_a_renewal(story: Story) -> None:
    """Only a client that never renews may replace it."""
    story.sent("login", 1.0, ttl=100.0)
    story.sent("renew", 51.0, ttl=100.0)
    story.sent("login", 91.0, ttl=100.0)
    assert story.finds(same_token(since=2.0)) == ["1 login (+91.00)"]
