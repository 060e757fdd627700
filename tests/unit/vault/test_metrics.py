from __future__ import annotations

import pytest

from vault_harness.local.vault.metrics import Numbers, parse

OPEN = """\
# TYPE vault_core_unsealed gauge
vault_core_unsealed{cluster=""} 0
vault_core_unsealed{cluster="c"} 1
vault_core_active{cluster="c"} 1
vault_core_handle_login_request{quantile="0.5"} NaN
vault_token_creation{auth_method="approle",namespace="root"} 2
vault_token_creation{auth_method="userpass",namespace="root"} 1
vault_token_creation{auth_method="token",namespace="root"} 40
vault_expire_num_leases 43
vault_core_in_flight_requests{cluster="c"} 2
vault_audit_log_request_failure 3
vault_audit_log_response_failure 4
"""


def test_an_open_server() -> None:
    """Labelled series are summed up."""
    assert parse(OPEN) == Numbers(
        unsealed=True, leader=True, leases=43, tokens=43, in_flight=2, unaudited=7
    )


def test_a_sealed_server_does_not_lead() -> None:
    """Vault's gauge still says that it is active."""
    found = parse(OPEN.replace('unsealed{cluster="c"} 1', 'unsealed{cluster="c"} 0'))
    assert (found.unsealed, found.leader) == (False, False)


@pytest.mark.parametrize("nameless", [0, 1])
@pytest.mark.parametrize("named", [0, 1, None])
def test_the_series_with_a_name_counts(nameless: int, named: int | None) -> None:
    """The series without a cluster name counts only on a node that has never led."""
    text = f'vault_core_unsealed{{cluster=""}} {nameless}\n'
    if named is not None:
        text += f'vault_core_unsealed{{cluster="c"}} {named}\n'
    assert parse(text).unsealed is bool(nameless if named is None else named)


def test_nothing_that_is_vaults() -> None:
    assert parse("<html>go_goroutines 3</html>") == Numbers()


def test_a_page_of_words_is_no_numbers() -> None:
    """A proxy says "access denied"."""
    words = "access denied\nvault_core_active nan\nvault_core_unsealed Infinity\n"
    assert parse(words + OPEN) == parse(OPEN)
