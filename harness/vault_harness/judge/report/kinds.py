"""Kinds of requests and of what can happen to them, as the table of touched requests names them."""

from __future__ import annotations

from typing import Final

# Requests, and what carries them

FIRST_LOGIN: Final = "first login"
LOGIN: Final = "later login"
UNWRAP: Final = "unwrapping of a secret-id"
LOOKUP: Final = "token lookup"
RENEW: Final = "token renewal"
REVOKE: Final = "token revocation"
READ: Final = "read"
WRITE: Final = "write"
METADATA: Final = "metadata"
CREDENTIAL: Final = "credential"
LEASE_RENEWAL: Final = "lease renewal"
LEASE_END: Final = "lease revocation"
CAPABILITIES: Final = "capabilities"
HEALTH: Final = "health"
CONNECTION: Final = "new connection"
KEPT: Final = "kept connection"
HANDSHAKE: Final = "TLS handshake"
NO_REQUEST: Final = "no request"

CARRIERS: Final = (CONNECTION, KEPT, HANDSHAKE)
"""What carries requests."""

ASKED: Final = (
    FIRST_LOGIN,
    LOGIN,
    UNWRAP,
    LOOKUP,
    RENEW,
    REVOKE,
    READ,
    WRITE,
    METADATA,
    CREDENTIAL,
    LEASE_RENEWAL,
    LEASE_END,
    CAPABILITIES,
    HEALTH,
)
"""The kinds of requests."""

# What can happen to a request

REFUSED: Final = "refused"
SILENT: Final = "silent"
CUT: Final = "cut off"
LATE: Final = "late"
LOST: Final = "done, answer lost"
GOODBYE: Final = "goodbye"

REDIRECT: Final = "redirect"
PAGE: Final = "200 of another"
FOREIGN_NO: Final = "4xx of another"
GATEWAY: Final = "502, 504"
LAGS: Final = "412"
FULL: Final = "429"
FULL_UNTIL: Final = "429, Retry-After"

AWAY: Final = "503"
FAILED: Final = "500"
WRONG: Final = "400"
DEAD: Final = "403, dead token"
DENIED: Final = "403, denied"
MISSING: Final = "404"
SHORTER: Final = "shorter life"

ON_THE_WAY: Final = (REFUSED, SILENT, CUT, LATE, LOST, GOODBYE)
NOT_BY_VAULT: Final = (REDIRECT, PAGE, FOREIGN_NO, GATEWAY, LAGS, FULL, FULL_UNTIL)
BY_VAULT: Final = (AWAY, FAILED, WRONG, DEAD, DENIED, MISSING, SHORTER)

# What happens to no request

CLOCK: Final = "the client's clock is set"
STOPPED: Final = "the client's process stands still"
CHANGED: Final = "a secret is changed"
DELETED: Final = "a secret is deleted"
EXCHANGED: Final = "a secret-id, JWT or token is exchanged"
RIGHTS: Final = "a role or policy is changed"
MOVED: Final = "Vault's name moves"

MEETING_NONE: Final = (CLOCK, STOPPED, CHANGED, DELETED, EXCHANGED, RIGHTS, MOVED)
