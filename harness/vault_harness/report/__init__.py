"""What a run leaves behind: a line a scenario, a text a failure, the journal, a timeline.

Everything here is made of records (`vault_harness.scenario.record`), so it can be made again from
a journal.
"""

from vault_harness.report._explain import again, explain
from vault_harness.report._journal import (
    begin,
    begun,
    clear,
    collect_parts,
    hold,
    load,
    parts_folder,
    refuse_foreign,
    refuse_foreign_page,
    write_part,
)
from vault_harness.report._lines import HEADER, Line, Summary, line_of, wire_of
from vault_harness.report._moments import Moment, collapse, in_short, moments, one_line, shown
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
    "clear",
    "collapse",
    "collect_parts",
    "where_time_went",
    "explain",
    "hold",
    "in_short",
    "line_of",
    "load",
    "moments",
    "one_line",
    "parts_folder",
    "refuse_foreign",
    "refuse_foreign_page",
    "shown",
    "wire_of",
    "write_part",
]
