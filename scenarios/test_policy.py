"""Policy: a 403 that no login can mend."""

from __future__ import annotations

import pytest

from harness.scenario import Lab
from harness.scenario.oracles import fails_as, logins_at_most, no_failed_read, requests_at_most

DENIED = "ai/openai"


@pytest.mark.scenario("POL-01")
def test_denied_path_is_surfaced(lab: Lab) -> None:
    """A backend asks three times for what only the AI services may read; others read on."""
    client = lab.start()
    with lab.reading(every=0.5), lab.condition("path denied", statuses=frozenset({403})) as denied:
        for _ in range(3):
            client.read(DENIED, "OPENAI_API_KEY")
            lab.watch(0.5)
        lab.watch(2.0)
    lab.judge(
        fails_as("denied", path=DENIED),
        logins_at_most(1, since=denied.began),
        requests_at_most(3, "lookup", "capabilities", since=denied.began),
        requests_at_most(9, "read", since=denied.began, path=DENIED),
        no_failed_read(since=denied.began, path="backend/django"),
    )
