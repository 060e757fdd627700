"""Print which slow tests and which scenarios a change touches.

    touched.py tests              folders of slow tests
    touched.py scenarios          ids of scenarios
    touched.py files PATTERN...   nothing; ends with 1 if no file of these patterns changed

The change is everything since the commit in CI_BASE. Without it, the change is everything of the
last day: a clone does not know what landed before.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

PACKAGE = "harness/vault_harness"
SLOW_TESTS = {
    "tests/contract/toxiproxy": [f"{PACKAGE}/local/toxiproxy"],
    "tests/engine/cli": [f"{PACKAGE}/cli"],
    "tests/engine/client": ["harness/resilient_vault_client"],
    "tests/engine/clients": [f"{PACKAGE}/judge/clients", "scenarios/clients"],
    "tests/engine/documents": ["docs/tutorial.md", "docs/how-to", ".ci/site.py", "mkdocs.yml"],
    "tests/engine/explore": [f"{PACKAGE}/judge/explore"],
    "tests/engine/faults": [f"{PACKAGE}/judge/faults"],
    "tests/engine/monitoring": ["compose/monitoring"],
    "tests/engine/operations": [f"{PACKAGE}/operator", "compose/blueprints", "compose/policies"],
    "tests/engine/packaging": ["dev", "pyproject.toml", "requirements.lock", "action.yml"],
    "tests/engine/plugin": [f"{PACKAGE}/fixtures"],
    "tests/engine/process": [f"{PACKAGE}/local/engine"],
    "tests/engine/report": [f"{PACKAGE}/judge/report"],
    "tests/engine/scenario": [f"{PACKAGE}/judge", f"{PACKAGE}/recorder"],
    "tests/engine/stack": [f"{PACKAGE}/local/stack"],
    "tests/engine/vault": [f"{PACKAGE}/local/vault"],
    "tests/property/toxiproxy": [f"{PACKAGE}/local/toxiproxy"],
    "tests/subjects": [
        f"{PACKAGE}/judge/subjects",
        f"{PACKAGE}/judge/cases",
        f"{PACKAGE}/fixtures",
    ],
    "tests/quality": [f"{PACKAGE}/judge/explore"],
    "tests/unit/client/test_signal_handlers.py": ["harness/resilient_vault_client"],
    "tests/unit/operations/test_locking_backups.py": [f"{PACKAGE}/operator/backup"],
    "tests/unit/report/test_html_page.py": [f"{PACKAGE}/judge/report/html"],
    "tests/unit/scenario/test_a_plugin_that_is_only_installed.py": [f"{PACKAGE}/judge/plugin"],
    "tests/unit/scenario/test_report_folder.py": [f"{PACKAGE}/judge/plugin"],
    "tests/unit/test_groups_of_tests.py": ["tests/groups.py"],
}
"""Slow tests, and the folders and files whose change runs them."""

HUNK = re.compile(r"^@@ \S+ \+(\d+)(?:,(\d+))? @@", re.MULTILINE)
SCENARIO = re.compile(r"scenario\(['\"](\S+)['\"]\)")
DEFINED = re.compile(r"(?:def |class )?(\w+)")


def git(*words: str) -> str:
    """Return what git prints."""
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout


def base() -> str:
    """Return the commit with which the change begins, or the empty tree."""
    day_ago = git("rev-list", "-1", "--before=1 day ago", "HEAD").strip()
    return (
        os.environ.get("CI_BASE")
        or day_ago
        or git("hash-object", "-t", "tree", "/dev/null").strip()
    )


def is_in(path: str, place: str) -> bool:
    """Return whether a file is the place or stands in it."""
    return path == place or path.startswith(f"{place}/")


def tests(changed: list[str]) -> list[str]:
    """Return the slow tests whose rooms changed, or which changed themselves."""
    return [
        place
        for place, rooms in SLOW_TESTS.items()
        if any(is_in(path, one) for path in changed for one in (place, *rooms))
    ]


def changed_lines(path: str) -> set[int]:
    """Return the numbers of the lines that changed, and of those behind a deletion."""
    lines: set[int] = set()
    for start, count in HUNK.findall(git("diff", "-U0", base(), "--", path)):
        lines.update(range(int(start), int(start) + max(int(count or 1), 1)))
    return lines


def scenarios(changed: list[str]) -> list[str]:
    """Return the ids of the scenarios whose function, helpers or catalogue entry changed."""
    ids: set[str] = set()
    for path in (Path(one) for one in changed if is_in(one, "scenarios")):
        if path.suffix == ".py" and path.exists():
            ids |= _of_functions(path.read_text(encoding="utf-8"), changed_lines(str(path)))
        elif path.name == "catalogue.toml":
            ids |= _of_tables(path.read_text(encoding="utf-8"), changed_lines(str(path)))
    return sorted(ids)


def _of_functions(text: str, lines: set[int]) -> set[str]:
    """Return the scenarios in which a line changed, or which use a helper that changed."""
    ids, helpers, words = set(), set(), {}
    for node in ast.parse(text).body:
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(one.lineno for one in decorators)])
        changed = not lines.isdisjoint(range(first, (node.end_lineno or first) + 1))
        if marked := SCENARIO.search(" ".join(map(ast.unparse, decorators))):
            words[marked[1]] = set(re.findall(r"\w+", ast.unparse(node)))
            ids |= {marked[1]} if changed else set()
        elif changed and not isinstance(node, ast.Import | ast.ImportFrom):
            helpers |= {name[1] for name in [DEFINED.match(ast.unparse(node))] if name}
    return ids | {id_ for id_, used in words.items() if used & helpers}


def _of_tables(text: str, lines: set[int]) -> set[str]:
    """Return the scenarios whose table in the catalogue changed."""
    ids, current = set(), ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\[([A-Z0-9]+-\d+)", line):
            current = header[1]
        if number in lines and current:
            ids.add(current)
    return ids


def main() -> int:
    """Print what is asked for."""
    what, *patterns = sys.argv[1:]
    changed = git("diff", "--name-only", base()).splitlines()
    if what == "files":
        return not any(re.match(pattern, path) for pattern in patterns for path in changed)
    sys.stdout.write(" ".join((tests if what == "tests" else scenarios)(changed)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
