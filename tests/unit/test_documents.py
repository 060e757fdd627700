"""Documents are whole: each begins with its title, and what they lead to is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "harness").rglob("*.md"),
]
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]+\]\((?!https?:)([^)\s]+)\)")
_ANCHOR = re.compile(r"[^\w\- ]")
_NAMED = re.compile(r"\b(docs/[\w/-]+\.(?:md|json))(?:#([\w-]+))?")


def _named(document: Path) -> str:
    return str(document.relative_to(ROOT))


def _anchors(document: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    text = re.sub(
        r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {_ANCHOR.sub("", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=_named)
def test_it_begins_with_its_title(document: Path) -> None:
    """Nothing stands before it, and there is one."""
    text = document.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert len(re.findall(r"^# ", _CODE.sub("", text), re.MULTILINE)) == 1


@pytest.mark.parametrize("document", DOCUMENTS, ids=_named)
def test_its_links_lead_somewhere(document: Path) -> None:
    """To a file of this project, and to a heading where one is named."""
    broken = []
    for link in _LINK.findall(_CODE.sub("", document.read_text(encoding="utf-8"))):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        found = target.exists() and (
            not anchor or target.suffix != ".md" or anchor in _anchors(target)
        )
        if not found:
            broken.append(link)
    assert broken == []


def test_what_is_named_elsewhere_is_there() -> None:
    """Code and configuration name documents too, and headings in them."""
    found = {
        named
        for folder in ("harness", "scenarios", "compose", ".github", ".ci")
        for file in (ROOT / folder).rglob("*")
        if file.suffix in {".py", ".yml", ".toml", ".jinja", ".js", ".sh"}
        for named in _NAMED.findall(file.read_text(encoding="utf-8"))
    }
    assert len(found) >= 3
    broken = {
        (path, anchor)
        for path, anchor in found
        if not (ROOT / path).exists() or (anchor and anchor not in _anchors(ROOT / path))
    }
    assert broken == set()


@pytest.mark.parametrize("folder", [".", "harness/resilient_vault_client"])
def test_a_release_is_told_of(folder: str) -> None:
    """Under the number of its version; what comes after it is under "Unreleased"."""
    version = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]["version"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.findall(r"^## (.+)$", changes, re.MULTILINE)
    if ".dev" in version:
        assert newest[0] == "Unreleased"
    else:
        assert re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$", changes, re.MULTILINE)


def test_the_harness_takes_its_own_client() -> None:
    """An installation of both would find no versions that fit, else."""
    stated = [
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
        for folder in (".", "harness/resilient_vault_client")
    ]
    harness, client = stated
    needed = {one.name: one.specifier for one in map(Requirement, harness["dependencies"])}
    assert needed[client["name"]].contains(client["version"], prereleases=True)
