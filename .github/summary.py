"""Prints the journal of a run as a table in Markdown, for the page of a hosted job."""

import json
import sys
from pathlib import Path


def cell(text: str) -> str:
    """Text in a table's cell: neither a bar nor a line's end may break the row."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>")


def main(path: Path) -> None:
    """Write the table to standard output."""
    if not path.exists():
        sys.exit("no journal: the scenarios did not begin")
    journal = json.loads(path.read_text(encoding="utf-8"))
    lines = [f"### {journal['summary']}", "", "| id | verdict | seconds | promise |"]
    lines.append("| --- | --- | ---: | --- |")
    # What did not pass comes first.
    for one in sorted(journal["scenarios"], key=lambda one: (one["word"] == "pass", one["id"])):
        promise = "\n".join(filter(None, (one["promise"], one["why"])))
        lines.append(f"| {one['id']} | {one['word']} | {one['seconds']:.1f} | {cell(promise)} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
