"""Write what a run leaves behind."""

from vault_harness.judge.report.explanation import explain
from vault_harness.judge.report.journal import (
    Asked,
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
from vault_harness.judge.report.lines import (
    HEADER,
    Effort,
    Line,
    Summary,
    line_of,
    where_time_went,
    wire_of,
)
from vault_harness.judge.report.timing import Moment, collapse, in_short, moments, one_line

__all__ = [
    "Effort",
    "HEADER",
    "Line",
    "Moment",
    "Summary",
    "Asked",
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
    "wire_of",
    "write_part",
]
