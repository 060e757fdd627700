"""Oracles on logins: histories that keep a promise, and that do not."""

from __future__ import annotations

from tests.unit.scenario.conftest import Story
from vault_harness.scenario.oracles import (
    bad_logins_at_most,
    last_pause,
    logins_at_most,
    logins_given_up,
    logins_with_one_secret_id_at_most,
    logs_in_again,
    same_token,
)


def test_as_many_logins_as_granted(story: Story) -> None:
    """And none that began before or after."""
    story.several("login", 1.0, 5.0, 9.0)
    assert story.finds(logins_at_most(3)) == []
    assert story.finds(logins_at_most(1, since=2.0, until=8.0)) == []


def test_one_login_too_many(story: Story) -> None:
    """Refused ones count, unless only the accepted are asked for."""
    story.several("login", 1.0, 3.0)
    story.several("login", 2.0, status=400)
    story.several("login", 4.0, status=None)
    assert story.finds(logins_at_most(2)) == ["4 logins (+1.00, +3.00, +2.00, +4.00)"]
    assert story.finds(logins_at_most(2, accepted=True)) == []
    assert len(story.finds(logins_at_most(1, accepted=True))) == 1


def test_login_that_was_given_up(story: Story) -> None:
    """The one after it counts if it is found again; one more counts at once."""
    story.sent("login", 1.0, status=None, closed="client")
    story.sent("login", 2.0)
    (late,) = logins_at_most(1)(story.history)
    assert late.repeated
    assert logins_given_up(story.history, since=0.0) == 1
    assert logins_given_up(story.history, since=1.5) == 0

    story.sent("login", 3.0)
    (too_many,) = logins_at_most(1)(story.history)
    assert not too_many.repeated


def test_login_that_the_server_broke_off_was_not_given_up(story: Story) -> None:
    """Nobody was too late for it."""
    story.sent("login", 1.0, status=None, closed="server")
    story.sent("login", 2.0)
    (finding,) = logins_at_most(1)(story.history)
    assert not finding.repeated


def test_login_that_died_with_its_call(story: Story) -> None:
    """Nothing is asked with what it gave, and the call had waited in vain: one, where granted."""
    story.call(1.0, 3.0, "unavailable")
    story.sent("login", 2.98, token="token-2")
    story.call(3.0)
    story.sent("login", 3.0, token="token-3")
    story.sent("read", 3.005, token="token-3")
    assert story.finds(logins_at_most(1, in_vain=2.0)) == []
    (without,) = logins_at_most(1)(story.history)
    assert not without.repeated


def test_login_that_was_dropped_long_before_the_end_of_its_call(story: Story) -> None:
    """Who has time left, and gives up what it has, does so each time."""
    story.call(1.0, 2.4, "unavailable")
    story.sent("login", 2.38, token="token-2")
    story.call(3.0)
    story.sent("login", 3.0, token="token-3")
    story.sent("read", 3.005, token="token-3")
    (finding,) = logins_at_most(1, in_vain=2.0)(story.history)
    assert finding.repeated


def test_two_logins_that_died_with_their_calls(story: Story) -> None:
    """One is granted, and one is not."""
    for began in (1.0, 3.0):
        story.call(began, began + 2.0, "unavailable")
        story.sent("login", began + 1.98, token=f"token-{began}")
    story.sent("login", 5.1, token="token-4")
    (finding,) = logins_at_most(1, in_vain=2.0)(story.history)
    assert not finding.repeated


def test_login_that_may_have_been_anothers(story: Story) -> None:
    """A call that was served beside it: the one that ended in vain may have had none."""
    story.call(1.0, 3.0, "unavailable")
    story.sent("login", 2.98, token="token-2")
    story.call(2.0, 3.1)
    story.sent("login", 3.0, token="token-3")
    story.sent("read", 3.05, token="token-3")
    (finding,) = logins_at_most(1, in_vain=2.0)(story.history)
    assert finding.repeated


def test_logins_that_did_not_die_with_a_call(story: Story) -> None:
    """One whose token was used, one beside a call that failed at once, one long before its end."""
    story.call(1.0, 3.0, "unavailable")
    story.sent("login", 2.98, token="token-2")
    story.sent("read", 2.99, token="token-2")
    story.sent("login", 3.2, token="token-3")
    (used,) = logins_at_most(1, in_vain=2.0)(story.history)
    assert not used.repeated

    story.call(5.0, 5.1, "unavailable")
    story.sent("login", 5.05, token="token-4")
    story.call(6.0, 8.0, "unavailable")
    story.sent("login", 7.5, token="token-5")
    (finding,) = logins_at_most(1, since=4.0, in_vain=2.0)(story.history)
    assert not finding.repeated


def test_login_in_its_time_is_no_excess(story: Story) -> None:
    """Who never renews logs in anew, as the login before it gives the time."""
    story.sent("login", 1.0, ttl=10.0)
    story.sent("login", 7.0, ttl=10.0)
    story.sent("login", 13.0, ttl=10.0)
    assert story.finds(logins_at_most(0, since=2.0, due=0.3)) == []
    assert len(story.finds(logins_at_most(0, since=2.0))) == 1
    assert story.finds(logins_at_most(0, since=0.0, due=0.3)) == ["1 login (+1.00)"]


def test_login_after_a_tokens_end_is_one(story: Story) -> None:
    """Who lost its token, or let it end, does not log in in its turn."""
    story.sent("login", 1.0, ttl=10.0)
    story.sent("login", 11.5, ttl=10.0)
    assert story.finds(logins_at_most(0, since=2.0, due=0.3)) == ["1 login (+11.50)"]


def test_logins_of_several_are_in_the_place_of_each_ones_own(story: Story) -> None:
    """Three that began together log in anew together; two at once by one of them are too many."""
    for at in (1.0, 1.1, 1.2, 6.0, 6.1, 6.2):
        story.sent("login", at, ttl=10.0)
    granted = logins_at_most(3, due=0.3, holders=3)
    assert story.finds(granted) == []
    story.sent("login", 6.3, ttl=10.0)
    assert story.finds(granted) == ["4 logins (+1.00, +1.10, +1.20, +6.30)"]


def test_few_logins_are_no_excess_whenever_they_come(story: Story) -> None:
    """Three in all are fine; of four each but the first has to come in its turn."""
    for at in (1.0, 1.5, 8.0):
        story.sent("login", at, ttl=10.0)
    granted = logins_at_most(1, due=0.3, few=3)
    assert story.finds(granted) == []
    story.sent("login", 14.0, ttl=10.0)
    (finding,) = granted(story.history)
    assert finding.seen == "2 logins (+1.00, +1.50)"
    assert finding.at == 14.0, "by then there were more than a few"


def test_login_of_whoever_is_not_granted_a_renewal(story: Story) -> None:
    """It may take the place of what a renewal did not grant."""
    story.sent("login", 1.0, ttl=10.0)
    story.sent("renew", 4.5, 403)
    story.sent("login", 4.6, ttl=10.0)
    assert story.finds(logins_at_most(1, due=0.3, whoever=True)) == []
    assert story.finds(logins_at_most(1, due=0.3)) == ["2 logins (+1.00, +4.60)"]


def test_one_login_too_many_makes_no_other_early(story: Story) -> None:
    """An answer that was lost costs one login; those that come in their turn after it are none."""
    for at in (1.0, 2.0, 2.5, 4.0, 5.0, 7.0, 8.0):
        story.sent("login", at, ttl=10.0)
    granted = logins_at_most(0, since=3.0, due=0.3, holders=2)
    assert story.finds(granted) == []
    assert story.finds(logins_at_most(2, since=0.5, due=0.3, holders=2)) == [
        "3 logins (+1.00, +2.00, +2.50)"
    ]


def test_tokens_of_several_that_came_to_their_end(story: Story) -> None:
    """Those from before an outage cost a login each; the next ones may be let run out."""
    for at in (1.0, 1.1, 21.0, 21.1, 31.5, 31.6):
        story.sent("login", at, ttl=10.0)
    assert story.finds(logins_at_most(2, since=5.0, due=0.3, holders=2)) == []
    assert story.finds(logins_at_most(1, since=5.0, due=0.3, holders=2)) == [
        "2 logins (+21.00, +21.10)"
    ]


def test_login_of_who_renews_is_one(story: Story) -> None:
    """It has no need of it, however late in a life it comes."""
    story.sent("login", 1.0, ttl=10.0)
    story.sent("renew", 4.5, ttl=10.0)
    story.sent("login", 8.0, ttl=10.0)
    assert story.finds(logins_at_most(1, due=0.3)) == ["2 logins (+1.00, +8.00)"]


def test_refused_logins_are_never_in_their_time(story: Story) -> None:
    """What Vault did not accept is in the place of no renewal."""
    story.sent("login", 1.0, ttl=10.0)
    story.several("login", 7.0, 7.1, 7.2, status=503)
    story.sent("login", 7.3, ttl=10.0)
    assert story.finds(logins_at_most(1, due=0.3)) == ["4 logins (+1.00, +7.00, +7.10, +7.20)"]


def test_login_before_its_time_is_one(story: Story) -> None:
    """Right after a login, or after a renewal that was granted."""
    story.sent("login", 1.0, ttl=10.0)
    story.sent("login", 3.0, status=None)
    story.sent("renew", 7.0, ttl=10.0)
    story.sent("login", 7.1, ttl=10.0)
    assert story.finds(logins_at_most(0, since=2.0, due=0.3)) == ["2 logins (+3.00, +7.10)"]


def test_many_times_are_cut(story: Story) -> None:
    """A loop of logins fits into a line."""
    story.several("login", *map(float, range(1, 21)))
    assert story.finds(logins_at_most(0)) == [
        "20 logins (+1.00, +2.00, +3.00, +4.00, +5.00, +6.00 and 14 more)"
    ]


def test_login_again_in_time(story: Story) -> None:
    """Accepted, and within the bound."""
    story.several("login", 10.0 + 2.0)
    assert story.finds(logs_in_again(since=10.0, within=2.0)) == []


def test_no_login_again(story: Story) -> None:
    """None, one before, one too late, one refused."""
    story.several("login", 9.0)
    assert story.finds(logs_in_again(since=10.0, within=2.0)) == ["there was none"]
    story.several("login", 12.1)
    story.several("login", 11.0, status=503)
    assert story.finds(logs_in_again(since=10.0, within=2.0)) == [
        "2 were tried (+12.10, +11.00), none was accepted in time"
    ]


def test_refused_logins_are_counted_by_secret_id(story: Story) -> None:
    """Four with each are granted; what Vault did not judge, or accepted, does not count."""
    for label in ("secret-id-1", "secret-id-2"):
        for at in (1.0, 2.0, 3.0, 4.0):
            story.sent("login", at, 400, secret_id=label)
    story.sent("login", 5.0, 503, secret_id="secret-id-1")
    story.sent("login", 6.0, None, secret_id="secret-id-1")
    story.sent("login", 7.0, 200, secret_id="secret-id-1")
    assert story.finds(bad_logins_at_most(4)) == []


def test_secret_id_that_is_hammered(story: Story) -> None:
    """The fifth locks the role; the sixth is refused with 403 for that."""
    for at in (1.0, 2.0, 3.0, 4.0, 5.0):
        story.sent("login", at, 400, secret_id="secret-id-1")
    story.sent("login", 6.0, 403, secret_id="secret-id-1")
    (finding,) = bad_logins_at_most(4)(story.history)
    assert finding.seen.startswith("6 with secret-id-1 (+1.00")
    assert finding.at == 5.0
    assert story.finds(bad_logins_at_most(4, secret_id="secret-id-2")) == []
    assert story.finds(bad_logins_at_most(4, since=2.5)) == []


def tried(story: Story, *moments: float) -> None:
    """Refused logins with one secret-id."""
    for at in moments:
        story.sent("login", at, 400, secret_id="secret-id-1")


def test_secret_id_that_would_be_hammered(story: Story) -> None:
    """Three tries and no end: at that pace there are 192 before Vault has forgotten the first."""
    tried(story, 10.0, 14.7, 19.4)
    assert story.finds(bad_logins_at_most(4)) == [], "three are three"
    assert story.finds(bad_logins_at_most(4, watched=26.0)) == [
        (
            "3 with secret-id-1 (+10.00, +14.70, +19.40), and the last pause of 4.7 s leads to 192 "
            "in 15 minutes"
        )
    ]


def test_client_that_has_stopped_trying(story: Story) -> None:
    """Quiet for one and a half times its last pause, or it had one try only."""
    tried(story, 10.0)
    assert story.finds(bad_logins_at_most(4, watched=60.0)) == []
    tried(story, 14.0, 22.0)
    assert story.finds(bad_logins_at_most(4, watched=34.0)) == []
    assert len(story.finds(bad_logins_at_most(4, watched=33.9))) == 1


def test_pause_is_between_bursts_of_tries(story: Story) -> None:
    """Two at once, a rest of eight seconds, two at once: the rest is what may be going on."""
    tried(story, 10.0, 10.2, 18.5, 18.9)
    assert story.finds(bad_logins_at_most(4, watched=30.5)) == [
        (
            "4 with secret-id-1 (+10.00, +10.20, +18.50, +18.90), and the last pause of 8.3 s "
            "leads to 111 in 15 minutes"
        )
    ]
    assert story.finds(bad_logins_at_most(4, watched=31.5)) == [], "1.5 times that, and no try"


def test_one_burst_tells_of_no_pause(story: Story) -> None:
    """Four at once are four; how long to look for the next ones is the scenario's."""
    tried(story, 10.0, 10.2, 10.4, 10.6)
    assert story.finds(bad_logins_at_most(4, watched=10.7)) == []


def test_last_pause() -> None:
    """None after one try or one burst; else that before the last burst, however often it tried."""
    assert last_pause([]) is None
    assert last_pause([3.0]) is None
    assert last_pause([3.0, 4.0, 5.4]) is None
    assert last_pause([3.0, 5.0]) == 2.0
    assert last_pause([3.0, 13.0, 13.5, 14.0]) == 10.0


def test_pace_that_locks_nothing(story: Story) -> None:
    """A try every five minutes is forgotten in time; one in less than that is not."""
    tried(story, 10.0, 310.0)
    assert len(story.finds(bad_logins_at_most(3, watched=400.0))) == 1
    assert story.finds(bad_logins_at_most(4, watched=400.0)) == []


def test_new_secret_id_ends_the_watch(story: Story) -> None:
    """What came after it says nothing about the pace before."""
    tried(story, 10.0, 60.0)
    assert story.finds(bad_logins_at_most(4, watched=30.0)) == []


def test_logins_without_a_secret_id_are_one_of_a_kind(story: Story) -> None:
    """A client that sends none is refused as well."""
    story.several("login", 1.0, 2.0, status=400)
    assert story.finds(bad_logins_at_most(1)) == ["2 with no secret-id (+1.00, +2.00)"]


def test_secret_id_of_one_use(story: Story) -> None:
    """Each is presented once, whatever came of it."""
    story.sent("login", 1.0, secret_id="secret-id-1")
    story.sent("login", 2.0, secret_id="secret-id-2")
    assert story.finds(logins_with_one_secret_id_at_most(1)) == []
    story.sent("login", 3.0, None, secret_id="secret-id-2")
    assert story.finds(logins_with_one_secret_id_at_most(1)) == [
        "2 with secret-id-2 (+2.00, +3.00)"
    ]


def test_token_kept(story: Story) -> None:
    """The login before is its own."""
    story.several("login", 1.0)
    story.several("renew", 5.0)
    assert story.finds(same_token(since=2.0)) == []


def test_token_thrown_away(story: Story) -> None:
    """A login that was only tried shows it as well."""
    story.several("login", 5.0, status=503)
    assert story.finds(same_token(since=2.0)) == ["1 login (+5.00)"]
    assert story.finds(same_token(since=2.0, until=4.0)) == []


def test_token_thrown_away_at_a_denial(story: Story) -> None:
    """The first login after what Vault denies in coming back is Vault's doing; no other one is."""
    story.sent("read", 4.9, 403)
    story.several("login", 5.0)
    assert story.finds(same_token(since=2.0)) == ["1 login (+5.00)"]
    assert story.finds(same_token(since=2.0, opened=4.85)) == []
    assert story.finds(same_token(since=2.0, opened=4.75)) == ["1 login (+5.00)"]
    story.several("login", 6.0)
    assert story.finds(same_token(since=2.0, opened=4.85)) == ["1 login (+6.00)"]


def test_token_thrown_away_before_a_denial(story: Story) -> None:
    """Nothing was denied by then; and a refused login denies nothing."""
    story.several("login", 4.0)
    story.sent("read", 4.5, 403)
    assert story.finds(same_token(since=2.0, opened=5.0)) == ["1 login (+4.00)"]


def test_token_thrown_away_at_a_refused_login(story: Story) -> None:
    """It is the client's own."""
    story.several("login", 4.0, status=403)
    story.several("login", 5.0)
    assert len(story.finds(same_token(since=2.0, opened=5.0))) == 1


def test_token_replaced_in_its_turn(story: Story) -> None:
    """Who never renews may log in instead from 0.3 of a life on, whether Vault serves or not."""
    story.sent("login", 1.0, ttl=100.0)
    story.sent("login", 31.5, None)
    story.sent("login", 31.9, ttl=100.0)
    assert story.finds(same_token(since=2.0)) == []
    story.sent("login", 61.0, ttl=100.0)
    assert story.finds(same_token(since=2.0)) == ["1 login (+61.00)"]


def test_token_that_nobody_replaces_in_its_turn(story: Story) -> None:
    """One try for each life may come to nothing; a loop of them is none in its turn."""
    story.sent("login", 1.0, ttl=100.0)
    story.several("login", 31.5, status=403)
    story.sent("login", 32.0, ttl=100.0)
    story.several("login", 65.0, status=403)
    assert story.finds(same_token(since=2.0)) == []
    story.several("login", 65.5, 66.0, 66.5, status=403)
    assert story.finds(same_token(since=2.0)) == ["3 logins (+65.50, +66.00, +66.50)"]


def test_token_whose_turn_comes_in_an_outage(story: Story) -> None:
    """What no Vault answers is tried again, until one does."""
    story.sent("login", 1.0, ttl=100.0)
    story.several("login", 31.5, 31.9, status=503)
    story.sent("login", 32.3, None)
    story.sent("login", 32.7, 403, by="stub")
    story.sent("login", 33.0, ttl=100.0)
    assert story.finds(same_token(since=2.0)) == []


def test_token_replaced_in_place_of_a_renewal(story: Story) -> None:
    """Who renews keeps its token."""
    story.sent("login", 1.0, ttl=100.0)
    story.sent("renew", 51.0, ttl=100.0)
    story.sent("login", 91.0, ttl=100.0)
    assert story.finds(same_token(since=2.0)) == ["1 login (+91.00)"]
