"""The words of each oracle's findings, which show the mutants that it catches.

A mutant's reason is a part of a finding. Several oracles speak of logins, so a mutant counts only
if its scenario asks the oracle.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.mutants.catalogue import CATALOGUE
from tests.mutants.reading import reached, scenario_of
from tests.mutants.thresholds import SCENARIOS

LEAST = 2
"""Mutants for each oracle."""

SAYS: dict[str, str] = {
    "a_denial_costs_little": r"a denial costs|(looks at the token|reads|logins) for$",
    "accepted_again": r"a credential that works",
    "asks_no_more_than_before": r"requests (of all kinds )?in$",
    "at_most": (
        r"tokens alive|stay open|requests to it for|(renewals|revocations) of one token"
        r"|users that were made"
    ),
    "bad_logins_at_most": r"the same secret-id|refused login",
    "credential_at_hand": r"given what is at hand",
    "credentials_apart": r"from one credential to the next",
    "credentials_at_most": r"credentials?$",
    "each_caller_recovers": r"each caller has a good read",
    "every_call_ends_within": r"every call ends within",
    "failed_reads_at_most": r"reads fail$|at most 1$",
    "failed_reads_of_each_caller_at_most": r"of each caller",
    "fails_as": r"fails as",
    "failures_are": r"a failure then is",
    "health_is_answered": r"answered with yes or no",
    "leaves_address": r"nobody asks at",
    "loops_have_pauses": r"no loop without a pause",
    "lease_renewals_at_most": r"renewals of leases",
    "lease_renewed_or_replaced": r"is renewed, or replaced",
    "leases_renewed_within": r"a renewal between|renewed for|into a life of",
    "logins_are_spread": r"instances log in within",
    "logins_at_most": r"at most \d+ logins?$|^logins$",
    "logins_with_one_secret_id_at_most": r"logins with the same secret-id",
    "log_has_pauses": r"no log without a pause",
    "logs_in_again": r"a new login within",
    "names_its_namespace": r"named none",
    "no_connection_storm": r"no connection storm",
    "no_credential_sent": r"another host",
    "no_false_absence": r"called missing or deleted",
    "no_failed_read": r"no read fails|no read of",
    "no_refused_read": r"a token that has ended",
    "no_refused_use": r"accepted by the database",
    "no_request_storm": r"no request storm|requests in$",
    "no_stampede": r"no stampede",
    "nobody_waits": r"for a slow one",
    "no_wrong_value": r"no wrong value|gave the value",
    "none_of": r"nothing behind|given back|it ends cleanly|nobody|is lost",
    "not_handed_out": r"is not handed out",
    "obeys_retry_after": r"Retry-After",
    "of_one_version": r"are of one version",
    "pauses_between_tries": r"s apart",
    "reaches_address": r"reads go to",
    "reads_go_on": r"no reader of",
    "recovers_within": r"a good read within",
    "refused_uses_at_most": r"logins refused",
    "renewals_at_most": r"at most \d+ renewals?$|^renewals?$",
    "renewals_of_a_capped_lease_at_most": r"whose maximum is near",
    "renewals_of_a_lost_lease_at_most": r"renewals of a lease",
    "renewals_hold_up_nobody": r"holds up no",
    "renewed_or_replaced": r"renewed, or replaced",
    "renews_again": r"the next renewal succeeds",
    "renews_within": r"between|into a life of",
    "replaced_before_the_end": r"before",
    "requests_a_call_at_most": r"for one call",
    "requests_at_most": r"requests \(",
    "same_token": r"the token survives",
    "says_of_its_health": r"health says",
    "sees": r"the new value of",
    "stays_alive": r"the client stays alive",
    "takes_at_most": r"seconds until",
    "uses_go_on": r"goes without",
    "no_request_with_a_dead_token": r"known to be dead",
    "one_renewal_at_a_time": r"one renewal of a token",
    "health_ends_within": r"health ends within",
    "writes_again": r"a good write within",
}
"""What the reasons of an oracle's mutants have in common."""

ALWAYS = {
    *("every_call_ends_within", "health_ends_within", "no_request_with_a_dead_token"),
    *("loops_have_pauses", "no_false_absence", "no_wrong_value", "one_renewal_at_a_time"),
    "stays_alive",
}
"""The lab asks these in every scenario."""

BY_A_VERB = {
    "lab.logs_in_again": ("logs_in_again",),
    "ends_cleanly": ("takes_at_most", "none_of"),
    "lab.recovers": ("recovers_within",),
    "fails_over": ("recovers_within",),
    "not_locked": ("none_of",),
    "follows": ("reaches_address", "leaves_address", "no_failed_read"),
}
"""Scenarios ask these through another function."""


def asked(folder: Path = SCENARIOS) -> dict[str, set[str]]:
    """Return the oracles that each scenario asks by itself."""
    found = {}
    for path in sorted(folder.glob("test_*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
        for function in functions.values():
            if scenario := scenario_of(function):
                found[scenario] = {
                    name for one in reached(function, functions) for name in _called(one)
                }
    return found


def _called(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            yield from BY_A_VERB.get(name, (name,))


def mutants_of(oracle: str, scenarios: dict[str, set[str]]) -> list[str]:
    """Return the mutants that this oracle must catch, by their reasons."""
    return [
        name
        for name, mutant in CATALOGUE.items()
        if re.search(SAYS[oracle], mutant.reason)
        and (oracle in ALWAYS or oracle in scenarios[mutant.scenario])
    ]
