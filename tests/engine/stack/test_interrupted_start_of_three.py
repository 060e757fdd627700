from __future__ import annotations

import pytest

from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.opening import Opening

pytestmark = [
    pytest.mark.slow,  # a cluster takes ten seconds
    pytest.mark.usefixtures("haproxy"),
]


class Killed(BaseException):
    """Ends a task at once."""


def test_all_vote_when_up_returns(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if they joined in a killed `up`."""

    def die(*_given: object) -> None:
        raise Killed

    with monkeypatch.context() as ended:
        ended.setattr(Opening, "_await_voters", die)
        with pytest.raises(Killed):
            stack.up(ha=True)

    stack.up()

    assert [node.voter for node in stack.status().nodes] == [True] * 3
