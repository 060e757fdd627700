"""What a server's metrics say, and what they only seem to say."""

from __future__ import annotations

from vault_harness.vault.metrics import Numbers, parse

OPEN = """\
# TYPE vault_core_unsealed gauge
vault_core_unsealed{cluster=""} 0
vault_core_unsealed{cluster="c"} 1
vault_core_active{cluster="c"} 1
vault_core_handle_login_request{quantile="0.5"} NaN
vault_core_handle_login_request_count 9
vault_token_creation{auth_method="approle",namespace="root"} 2
vault_token_creation{auth_method="userpass",namespace="root"} 1
vault_token_creation{auth_method="token",namespace="root"} 40
vault_expire_num_leases 43
vault_core_in_flight_requests{cluster="c"} 2
vault_audit_log_request_failure 3
vault_audit_log_response_failure 4
"""


def test_an_open_server() -> None:
    """Tokens that no login made are tokens, and say nothing of logins."""
    assert parse(OPEN) == Numbers(
        unsealed=True, leader=True, leases=43, tokens=43, failed_logins=6, in_flight=2, unaudited=7
    )


def test_a_sealed_server_does_not_lead() -> None:
    """Vault's gauge goes on saying that it is active."""
    found = parse(OPEN.replace('unsealed{cluster="c"} 1', 'unsealed{cluster="c"} 0'))
    assert (found.unsealed, found.leader) == (False, False)


def test_a_login_in_flight_is_not_a_failure_less() -> None:
    """Its token is counted before itself."""
    assert parse(OPEN.replace("login_request_count 9", "login_request_count 2")).failed_logins == 0


def test_nothing_that_is_vaults() -> None:
    """Another server's page is no numbers."""
    assert parse("<html>go_goroutines 3</html>") == Numbers()


def test_a_page_of_words_is_no_numbers() -> None:
    """A proxy that says "access denied" ends nothing."""
    words = "access denied\nvault_core_active nan\nvault_core_unsealed Infinity\n"
    assert parse(words + OPEN) == parse(OPEN)
