from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.oracles import (
    HANDOVER,
    READ_VERBS,
    every_call_ends_within,
    failed_reads_at_most,
    failed_reads_of_each_caller_at_most,
    fails_as,
    failures_are,
    health_is_answered,
    no_failed_read,
    no_wrong_value,
    of_one_version,
    recovers_within,
    says_of_its_health,
    sees,
    stays_alive,
    writes_again,
)
from vault_harness.recorder.observations import Outcome

# no_wrong_value


@pytest.fixture
def rotated(story: Story) -> Story:
    """Return a history with v1 from the start and v2 from 50 s on."""
    story.put(0.0, "v1")
    story.put(50.0, "v2")
    return story


def test_right_values(rotated: Story) -> None:
    rotated.call(49.0, value="v1")
    rotated.call(51.0, value="v2")
    assert rotated.finds(no_wrong_value()) == []


@pytest.mark.parametrize("value", ["v1", "v2"])
def test_either_value_during_the_change(rotated: Story, value: str) -> None:
    rotated.call(49.9, 50.2, value=value)
    rotated.call(50.005, 50.2, value=value)
    assert rotated.finds(no_wrong_value()) == []


def test_outdated_value(rotated: Story) -> None:
    """It is no harm."""
    rotated.call(50.02, value="v1")
    seen = rotated.finds(no_wrong_value())
    assert seen == ["read of backend/django gave the value v1, right was v2"]
    assert not no_wrong_value()(rotated.history)[0].harm, "it was right a moment ago"


def test_a_warm_up_may_be_late_but_not_wrong(rotated: Story) -> None:
    rotated.call(1.0, 4.0, verb="warm-up", value="unknown")
    (finding,) = no_wrong_value()(rotated.history)
    assert finding.harm


def test_value_before_its_time(rotated: Story) -> None:
    rotated.call(48.0, 49.0, value="v2")
    assert rotated.finds(no_wrong_value()) == [
        "read of backend/django gave the value v2, right was v1"
    ]


def test_halves_of_two_versions(rotated: Story) -> None:
    """They are harm, even within the refresh time."""
    rotated.call(49.0, verb="read_all", value="v1")
    assert rotated.finds(of_one_version("backend/django")) == []
    rotated.call(51.0, verb="read_all", value="v1 beside v2")
    assert rotated.finds(no_wrong_value(refresh=5.0)) == []
    assert rotated.finds(of_one_version("backend/other")) == []
    found = of_one_version("backend/django")(rotated.history)
    assert [one.seen for one in found] == ["1 times not; first v1 beside v2"]
    assert found[0].harm


def test_half_a_secret(rotated: Story) -> None:
    """It is harm."""
    rotated.call(49.0, verb="read_all", value="nothing")
    assert rotated.finds(of_one_version("backend/django")) == ["1 times not; first nothing"]
    (finding,) = no_wrong_value(refresh=5.0)(rotated.history)
    assert finding.seen == "read_all of backend/django gave none of its keys, right was v1"
    assert finding.harm


def test_refresh_grants_age(rotated: Story) -> None:
    """A value may be as old as the refresh time, to the hundredth of a second."""
    rotated.call(50.0 + 5.0, value="v1", verb="read_cached")
    assert rotated.finds(no_wrong_value(refresh=5.0)) == []
    rotated.call(50.1 + 5.0, value="v1", verb="read_cached")
    assert rotated.finds(no_wrong_value(refresh=5.0)) == [
        "read_cached of backend/django gave the value v1, right was v2"
    ]


def test_stale_grants_age_to_what_is_marked(rotated: Story) -> None:
    """The age may have a limit."""
    rotated.call(90.0, outcome="stale", value="v1")
    assert rotated.finds(no_wrong_value()) == []
    assert rotated.finds(no_wrong_value(stale_for=60.0)) == []
    assert rotated.finds(no_wrong_value(stale_for=30.0)) == [
        "read of backend/django gave the value v1 (marked stale), right was v2"
    ]
    rotated.call(90.0, value="v1")
    assert len(rotated.finds(no_wrong_value())) == 1


def test_a_value_that_was_never_written_is_harm(rotated: Story) -> None:
    """It may even be marked stale."""
    rotated.call(51.0, value="unknown")
    rotated.call(51.0, outcome="stale", value="unknown")
    findings = no_wrong_value(refresh=9.0)(rotated.history)
    assert [finding.harm for finding in findings] == [True, True]
    assert findings[0].seen.startswith(
        "read of backend/django gave a value that nobody ever wrote, "
    )


def test_wrong_value_of_a_key(rotated: Story) -> None:
    rotated.call(60.0, value="v1").key = "SECRET_KEY"
    assert rotated.finds(no_wrong_value()) == [
        "read of backend/django (SECRET_KEY) gave the value v1, right was v2"
    ]


def test_value_of_another_path(rotated: Story) -> None:
    rotated.put(0.0, "backend/celery:v1", path="backend/celery")
    rotated.call(10.0, value="backend/celery:v1", path="backend/celery")
    assert rotated.finds(no_wrong_value()) == []
    rotated.call(10.0, value="backend/celery:v1")
    (finding,) = no_wrong_value()(rotated.history)
    assert finding.seen == "read of backend/django gave the value backend/celery:v1, right was v1"
    assert finding.harm, "it never was a value of this secret"


def test_value_of_a_path_that_has_none(rotated: Story) -> None:
    """Any value is wrong."""
    rotated.call(10.0, value="v1", path="ai/openai")
    assert rotated.finds(no_wrong_value()) == [
        "read of ai/openai gave the value v1, right was none"
    ]


def test_fallback_only_where_it_is_right(rotated: Story) -> None:
    """Except for its variable's key it is harm."""
    rotated.call(10.0, value="fallback").key = "SECRET_KEY"
    assert no_wrong_value()(rotated.history)[0].harm
    assert rotated.finds(no_wrong_value(fallback={("backend/django", "SECRET_KEY")})) == []
    others = {("backend/django", "DEBUG"), ("backend/celery", "SECRET_KEY")}
    assert no_wrong_value(fallback=others)(rotated.history)[0].harm


def test_value_of_another_key(rotated: Story) -> None:
    rotated.call(10.0, value="v1 of DEBUG").key = "SECRET_KEY"
    (finding,) = no_wrong_value()(rotated.history)
    assert finding.seen == (
        "read of backend/django (SECRET_KEY) gave the value v1 of DEBUG, right was v1"
    )
    assert finding.harm, "it never was a value of this key"


def test_failures_are_no_values(rotated: Story) -> None:
    rotated.call(60.0, outcome="unavailable")
    rotated.call(60.0, outcome=None)
    assert rotated.finds(no_wrong_value()) == []


# every_call_ends_within


def test_calls_in_time(story: Story) -> None:
    """A call has the deadline plus the time of the handover."""
    story.call(1.0, 1.0 + 2.0 + HANDOVER)
    story.call(1.0, 3.0, "unavailable")
    story.call(1.0, 99.0, verb="start")
    assert story.finds(every_call_ends_within(2.0)) == []


def test_call_that_was_given_up(story: Story) -> None:
    """The harness may have given up early."""
    story.call(1.0, 2.0, "hung")
    assert story.finds(every_call_ends_within(2.0)) == [
        "read of backend/django had not ended after 1.00 s"
    ]


def test_call_that_still_runs(story: Story) -> None:
    """It is judged by its time so far."""
    story.call(story.history.now() - 1.0, outcome=None)
    assert story.finds(every_call_ends_within(2.0)) == []
    story.call(900.0, outcome=None)
    assert "had not ended after 10" in story.finds(every_call_ends_within(2.0))[0]


# no_failed_read, failed_reads_at_most


def test_no_failure(story: Story) -> None:
    """Stale and unfinished reads have not failed; writes are not judged."""
    story.calls(1.0, 2.0)
    story.call(3.0, outcome="stale")
    story.call(4.0, outcome=None)
    story.call(5.0, outcome="denied", verb="write")
    assert story.finds(no_failed_read()) == []


@pytest.mark.parametrize("outcome", ["unavailable", "denied", "missing", "error", "hung", "died"])
def test_failure(story: Story, outcome: Outcome) -> None:
    story.call(1.0, outcome=outcome, message="no luck")
    story.call(2.0, outcome="error", verb="read_cached")
    assert story.finds(no_failed_read()) == [
        f"2 of 2 failed (+1.00, +2.00), the first as {outcome}: no luck"
    ]


def test_failure_that_a_stall_may_explain(story: Story) -> None:
    """A stall explains it only if it took half a second."""
    story.call(1.0, 1.5, "unavailable")
    (late,) = no_failed_read()(story.history)
    assert (late.missed, late.until) == (0.5, 1.5)
    story.call(0.5, 0.9, "denied")
    (quick,) = no_failed_read(until=0.9)(story.history)
    assert quick.missed is None


def test_without_a_read_no_failure_is_shown(story: Story) -> None:
    story.call(1.0)
    assert story.finds(no_failed_read(since=2.0, until=8.0)) == [
        "nothing shows it: there was no read between +2.00 and +8.00 s"
    ]
    assert story.finds(no_failed_read(path="ai/openai")) == [
        "nothing shows it: there was no read after +0.00 s"
    ]
    assert story.finds(no_failed_read(since=2.0, may_be_empty=True)) == []


def test_failures_at_another_time_or_path_do_not_count(story: Story) -> None:
    story.call(1.0, outcome="error")
    story.call(9.0, outcome="error")
    story.call(5.0, outcome="error", path="ai/openai")
    story.call(6.0)
    assert story.finds(no_failed_read(since=2.0, until=8.0, path="backend/django")) == []
    assert len(story.finds(no_failed_read(since=2.0, until=8.0))) == 1
    assert len(story.finds(no_failed_read(since=1.0, until=1.0))) == 1, "the bounds belong to it"


def test_some_failures_are_allowed(story: Story) -> None:
    story.calls(1.0, 2.0, 3.0)
    story.calls(4.0, 5.0, outcome="unavailable")
    assert story.finds(failed_reads_at_most(2)) == []
    assert story.finds(failed_reads_at_most(1)) == [
        "2 of 5 did (+4.00, +5.00), the last: unavailable"
    ]
    assert story.finds(failed_reads_at_most(1, since=6.0)) == [
        "nothing shows it: there was no read after +6.00 s"
    ]


def test_some_failures_of_each_caller(story: Story) -> None:
    for caller in range(3):
        story.call(1.0, outcome="unavailable").caller = caller
        story.call(2.0).caller = caller
    assert story.finds(failed_reads_of_each_caller_at_most(1)) == []
    story.call(3.0, outcome="unavailable").caller = 2
    assert story.finds(failed_reads_of_each_caller_at_most(1)) == [
        "2 of 3 by caller 2 did (+1.00, +3.00), the last: unavailable"
    ]


def test_a_failure_at_rest(story: Story) -> None:
    """With `at_rest` a failure at once and without a request is granted."""
    story.calls(1.0, 2.0, 3.0, outcome="unavailable")
    assert story.finds(failed_reads_of_each_caller_at_most(0, at_rest=True)) == []
    story.call(4.0, 4.5, outcome="unavailable")
    story.call(5.0, outcome="unavailable")
    story.sent("read", 5.0, 503)
    assert story.finds(failed_reads_of_each_caller_at_most(2, at_rest=True)) == []
    assert story.finds(failed_reads_of_each_caller_at_most(1, at_rest=True)) == [
        "2 of 5 by caller 0 did (+4.00, +5.00), the last: unavailable"
    ]


def test_a_failure_beside_a_probe(story: Story) -> None:
    """One caller probes; the others may fail at once."""
    story.call(1.0, outcome="unavailable")
    story.call(0.999, 1.005).caller = 1
    story.sent("read", 1.0)
    assert story.finds(failed_reads_of_each_caller_at_most(0, at_rest=True)) == []
    story.sent("read", 1.001, 503)
    assert len(story.finds(failed_reads_of_each_caller_at_most(0, at_rest=True))) == 1


# recovers_within


def test_no_recovery(story: Story) -> None:
    """Stale reads and other paths show none."""
    story.call(19.0)
    story.call(21.0, outcome="stale")
    story.call(21.0, path="backend/celery")
    assert story.finds(recovers_within(4.0, since=20.0, path="backend/django")) == ["none came"]


def test_write_that_works_again(story: Story) -> None:
    """The first write may fail if a later one is in time."""
    story.call(20.5, outcome="unavailable", verb="write")
    story.call(23.0, 24.0, verb="write")
    assert story.finds(writes_again(4.0, since=20.0)) == []


def test_write_that_works_too_late(story: Story) -> None:
    story.call(24.0, 24.2, verb="write")
    assert story.finds(writes_again(4.0, since=20.0)) == ["the first came after 4.20 s"]


def test_write_that_never_works_again(story: Story) -> None:
    """Earlier writes and reads show no recovery, and the last error is told."""
    story.call(19.0, verb="write")
    story.call(21.0, outcome="unavailable", verb="write", message="no more")
    story.call(22.0)
    (seen,) = story.finds(writes_again(4.0, since=20.0))
    assert seen == "none of 1 was: unavailable: no more"


def test_without_a_write_nothing_is_shown(story: Story) -> None:
    assert story.finds(writes_again(4.0, since=20.0)) == ["none of 0 was"]


def test_read_that_waited_the_fault_out(story: Story) -> None:
    """It began in the fault, and shows recovery."""
    story.call(19.0, 20.3)
    assert story.finds(recovers_within(4.0, since=20.0)) == []


def test_only_a_read_after_the_fault_began_shows_recovery(story: Story) -> None:
    story.call(19.99, 20.01)
    story.call(26.0)
    assert story.finds(recovers_within(4.0, since=20.0, begun=True)) == [
        "the first came after 6.01 s"
    ]


# fails_as, failures_are


@pytest.mark.parametrize("outcome", ["denied", "missing", "error", None])
def test_failing_as_promised(story: Story, outcome: Outcome | None) -> None:
    story.call(1.0, outcome=outcome, path="p")
    story.call(2.0, outcome="denied", path="p")
    story.call(1.0, path="elsewhere")
    assert story.finds(fails_as("denied", "missing", path="p")) == []


def test_failing_otherwise(story: Story) -> None:
    story.call(1.0, outcome="unavailable", path="p")
    (finding,) = fails_as("denied", path="p")(story.history)
    assert (finding.seen, finding.harm) == ("a read failed as unavailable", False)
    assert finding.promise == "a read of p fails as denied"


@pytest.mark.parametrize("outcome", ["ok", "stale"])
def test_not_failing(story: Story, outcome: Outcome) -> None:
    """A value where none may be is harm."""
    story.call(1.0, outcome=outcome, path="p", value="fallback")
    (finding,) = fails_as("denied", path="p")(story.history)
    assert (finding.seen, finding.harm) == ("a read gave the value fallback", True)


def test_whole_secrets_fail_too(story: Story) -> None:
    story.call(1.0, outcome="denied", path="p")
    story.call(2.0, verb="read_all", path="p", value="nothing")
    assert story.finds(fails_as("denied", path="p")) == []
    (finding,) = fails_as("denied", path="p", verbs=READ_VERBS)(story.history)
    assert (finding.seen, finding.harm) == ("a read gave none of its keys", True)


def test_nothing_that_fails(story: Story) -> None:
    """Nothing is shown."""
    story.call(1.0, outcome=None, path="p")
    assert story.finds(fails_as("denied", path="p")) == [
        "nothing shows it: there was no read that ended after +0.00 s"
    ]


def test_failures_of_the_right_kind(story: Story) -> None:
    """An unclassified failure is accepted by default."""
    story.call(1.0)
    assert story.finds(failures_are("unavailable")) == [
        "nothing shows it: there was no failure after +0.00 s"
    ]
    assert story.finds(failures_are("unavailable", may_be_empty=True)) == []
    story.call(2.0, outcome="unavailable")
    story.call(3.0, outcome="error")
    assert story.finds(failures_are("unavailable")) == []
    assert story.finds(failures_are("unavailable", unsorted=False)) == [
        "1 of 2 were not (+3.00), the first is error"
    ]


def test_failures_of_the_wrong_kind(story: Story) -> None:
    story.call(1.0, outcome="missing", message="no such secret")
    story.call(2.0, outcome="missing", path="elsewhere")
    assert story.finds(failures_are("unavailable")) == [
        "2 of 2 were not (+1.00, +2.00), the first is missing: no such secret"
    ]
    story.call(3.0, outcome="unavailable")
    assert story.finds(failures_are("unavailable", since=1.5, path="backend/django")) == []


def test_failures_that_are_called_as_they_like(story: Story) -> None:
    """`but` excludes them."""
    story.call(1.0, outcome="denied")
    story.call(2.0, outcome="unavailable")
    assert story.finds(failures_are("unavailable", but=lambda call: call.began < 1.5)) == []
    assert story.finds(failures_are("unavailable", but=lambda call: call.began > 1.5)) == [
        "1 of 1 were not (+1.00), the first is denied"
    ]


def test_failures_of_writes(story: Story) -> None:
    story.call(1.0, outcome="denied", verb="write")
    story.call(2.0, outcome="unavailable")
    assert story.finds(failures_are("unavailable")) == []
    assert len(story.finds(failures_are("unavailable", verbs=("write",)))) == 1


# says_of_its_health, stays_alive


def test_health_is_judged_by_its_last_word(story: Story) -> None:
    story.call(1.0, verb="health", message="well")
    story.call(2.0, verb="health", message="not well")
    assert story.finds(says_of_its_health(well=False, since=0.0)) == []
    assert story.finds(says_of_its_health(well=True, since=0.0)) == ["it still said not well"]
    assert story.finds(says_of_its_health(well=True, since=0.0, until=1.5)) == []
    assert story.finds(says_of_its_health(well=True, since=3.0)) == [
        "nothing shows it: there was no question for it after +3.00 s"
    ]


@pytest.mark.parametrize("outcome", ["error", "hung", "unavailable"])
@pytest.mark.parametrize("well", [True, False])
def test_health_without_an_answer(story: Story, outcome: Outcome, well: bool) -> None:
    story.call(1.0, outcome=outcome, verb="health", message="well")
    assert story.finds(says_of_its_health(well=well, since=0.0)) == [f"it ended {outcome}: well"]
    assert story.finds(health_is_answered()) == [
        f"1 were not (+1.00), the first ended {outcome}: well"
    ]


def test_health_that_is_answered(story: Story) -> None:
    story.call(1.0, verb="health", message="not well")
    story.call(2.0, outcome="error")
    assert story.finds(health_is_answered()) == []


def test_dead(story: Story) -> None:
    story.call(1.0, outcome="died", verb="health", message="exit code 1")
    (finding,) = stays_alive()(story.history)
    assert (finding.seen, finding.harm, finding.at) == ("it ended: exit code 1", False, 1.0)


def test_new_value_in_each_way_of_reading(story: Story) -> None:
    story.call(11.0, value="v2")
    story.call(11.0, value="v1", verb="read_cached")
    path = "backend/django"
    cached = sees("v2", path, since=10.0, within=3.0, verb="read_cached")
    assert story.finds(sees("v2", path, since=10.0, within=3.0)) == []
    assert story.finds(sees("v2", path, since=10.0, within=3.0, verb="read")) == []
    assert story.finds(cached) == ["1 good reads gave v1"]
    story.call(12.9, value="v2", verb="read_cached")
    assert story.finds(cached) == []


def test_new_value_that_is_seen_late(story: Story) -> None:
    story.call(11.0, value="v1")
    story.call(14.5, value="v2")
    assert story.finds(sees("v2", "backend/django", since=10.0, within=3.0)) == [
        "the first that gave it began 4.50 s after that"
    ]
