"""Three nodes whose first start was ended: the next one is done once any of them may be lost."""

from __future__ import annotations

import pytest

from vault_harness.stack import LocalStack
from vault_harness.stack._opening import Opening

pytestmark = [
    pytest.mark.slow,  # it makes a cluster, which takes ten seconds
    pytest.mark.usefixtures("haproxy"),
]


class Killed(BaseException):
    """Ends a task where it is."""


def test_all_vote_when_up_returns(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are members since the first one, which was ended before they counted for the quorum."""

    def die(*_given: object) -> None:
        raise Killed

    with monkeypatch.context() as ended:
        ended.setattr(Opening, "_await_voters", die)
        with pytest.raises(Killed):
            stack.up(ha=True)

    stack.up()

    assert [node.voter for node in stack.status().nodes] == [True] * 3
