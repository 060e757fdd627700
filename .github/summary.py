"""Prints the journal of a run as a table in Markdown, for the page of a hosted job."""

import json
import re
import sys
from pathlib import Path


def cell(text: object) -> str:
    """Text as itself, in a table's cell too: what a client said is no markup of the page.

    Neither a bar nor a line's end breaks the row, and no tag or comment hides what comes after it.
    """
    shown = str(text).replace("&", "&amp;").replace("<", "&lt;")
    lines = re.sub(r"[\\`*\[\]|]", r"\\\g<0>", shown).splitlines()
    return "<br>".join(
        "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
        for line in lines
    )


def main(path: Path) -> None:
    """Write the table to standard output."""
    if not path.exists():
        sys.exit("no journal: the scenarios did not begin")
    journal = json.loads(path.read_text(encoding="utf-8"))
    lines = [f"### {cell(journal['summary'])}", "", "| id | verdict | seconds | promise |"]
    lines.append("| --- | --- | ---: | --- |")
    # What did not pass comes first.
    for one in sorted(journal["scenarios"], key=lambda one: (one["word"] == "pass", one["id"])):
        promise = "\n".join(filter(None, (one["promise"], one.get("why"))))
        cells = (cell(one["id"]), one["word"], f"{one['seconds']:.1f}", cell(promise))
        lines.append(f"| {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
