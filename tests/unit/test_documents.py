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
_ITEM = re.compile(r"\n(?=\s*(?:[-*]|\d+\.) )")
_FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
PAGES = ("tutorial", "index", "judging", "judge", "scenarios", "client", "guide")
TABLES = ("claims", "exit-codes", "line-protocol", "subject-environment", "words")
EASY = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in PAGES),
    *(ROOT / "docs" / "reference" / f"{name}.md" for name in TABLES),
    *(ROOT / "docs" / "how-to").glob("*.md"),
    *(ROOT / "docs" / "explanation").glob("*.md"),
]
_NAMED = re.compile(r"\b(docs/[\w/-]+\.(?:md|json))(?:#([\w-]+))?")


def _named(document: Path) -> str:
    return str(document.relative_to(ROOT))


def _anchors(document: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    text = re.sub(
        r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {_ANCHOR.sub("", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=_named)
def test_it_begins_with_its_title(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert len(re.findall(r"^# ", _CODE.sub("", text), re.MULTILINE)) == 1


@pytest.mark.parametrize("document", DOCUMENTS, ids=_named)
def test_its_links_lead_somewhere(document: Path) -> None:
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


def _paragraphs(document: Path) -> list[str]:
    """Return paragraphs and items of lists, without headings, tables and code."""
    text = _FENCED.sub("\n", document.read_text(encoding="utf-8"))
    blocks = [block.strip("\n") for block in re.split(r"\n\s*\n", text)]
    prose = [block for block in blocks if block and not block.lstrip().startswith(("#", "|"))]
    return [item for block in prose for item in _ITEM.split(block)]


@pytest.mark.parametrize("document", EASY, ids=_named)
def test_its_paragraphs_are_short(document: Path) -> None:
    """A paragraph has at most five lines, a sentence at most thirty words."""
    paragraphs = _paragraphs(document)
    plain = [re.sub(r"`[^`]*`|\]\([^)]*\)", "x", one.replace("\n", " ")) for one in paragraphs]
    sentences = [one for text in plain for one in re.split(r"(?<=[.?!])\s+", text)]
    assert [one for one in paragraphs if one.count("\n") >= 5] == []
    assert [one for one in sentences if len(one.split()) > 30] == []


def test_pages_about_judging_are_short() -> None:
    """They have at most 450 words."""
    first = ROOT / "docs" / "judging.md"
    pages = re.findall(r"\((explanation/[\w-]+\.md)\)", first.read_text(encoding="utf-8"))
    assert len(pages) > 10
    counted = {
        one: len((first.parent / one).read_text(encoding="utf-8").split())
        for one in (first.name, *pages)
    }
    assert {one: words for one, words in counted.items() if words > 450} == {}


def test_documents_and_headings_that_code_names_exist() -> None:
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
def test_the_changelog_has_the_current_version(folder: str) -> None:
    """During development it has "Unreleased"."""
    version = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]["version"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.findall(r"^## (.+)$", changes, re.MULTILINE)
    if ".dev" in version:
        assert newest[0] == "Unreleased"
    else:
        assert re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$", changes, re.MULTILINE)


def test_the_harness_takes_its_own_client() -> None:
    stated = [
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
        for folder in (".", "harness/resilient_vault_client")
    ]
    harness, client = stated
    needed = {one.name: one.specifier for one in map(Requirement, harness["dependencies"])}
    assert needed[client["name"]].contains(client["version"], prereleases=True)
