"""The documents, for those too who have no checkout."""

from __future__ import annotations

from vault_harness.cli._command import command
from vault_harness.cli._console import say, table


@command(
    "docs",
    group="every day",
    takes=("name",),
    examples=("docs", "docs judge", "docs clients/hvac"),
    help={"name": "of a document, as the list has it; all are listed without"},
)
def docs(name: str | None = None) -> None:
    """List the documents, or print one."""
    from vault_harness.errors import SettingsError
    from vault_harness.settings import documents

    folder = documents()
    there = {
        file.relative_to(folder).with_suffix("").as_posix(): file
        for file in sorted(folder.rglob("*.md"))
    }
    texts = {each: file.read_text(encoding="utf-8") for each, file in there.items()}
    if name is None:
        titles = {each: text.partition("\n")[0] for each, text in texts.items()}
        say(table([(each, title.removeprefix("# ")) for each, title in titles.items()]))
        return
    asked = name.removeprefix("docs/").removesuffix(".md")
    if asked not in texts:
        raise SettingsError(
            f"there is no document {name}",
            looked_at=str(folder),
            remedy=f"take one of {', '.join(texts)}",
        )
    say(texts[asked].rstrip("\n"))
