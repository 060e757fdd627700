"""What a run leaves behind: a line a scenario, a text a failure, the journal, a timeline.

Everything here is made of records (`vault_harness.scenario.record`), so it can be made again from
a journal.
"""

from vault_harness.report._explain import again, explain
from vault_harness.report._journal import (
    begin,
    begun,
    collect_parts,
    load,
    parts_folder,
    write_part,
)
from vault_harness.report._lines import HEADER, Line, Summary, line_of, wire_of
from vault_harness.report._moments import Moment, collapse, moments, shown
from vault_harness.report._spent import Effort, where_time_went

__all__ = [
    "Effort",
    "HEADER",
    "Line",
    "Moment",
    "Summary",
    "again",
    "begin",
    "begun",
    "collapse",
    "collect_parts",
    "where_time_went",
    "explain",
    "line_of",
    "load",
    "moments",
    "parts_folder",
    "shown",
    "wire_of",
    "write_part",
]
