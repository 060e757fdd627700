"""Show the documents, also from an installed package."""

from __future__ import annotations

from vault_harness.cli.command import command
from vault_harness.cli.printing import say, table


@command(
    "docs",
    group="every day",
    takes=("name",),
    examples=("docs", "docs judge", "docs how-to/tls"),
    help={"name": "a document of the list, or the end of its name; without a name all are listed"},
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
    alike = [each for each in texts if each.rpartition("/")[2] == asked]
    if asked not in texts and len(alike) == 1:
        asked = alike[0]
    if asked not in texts:
        raise SettingsError(
            f"there is no document {name}",
            looked_at=str(folder),
            remedy=f"take one of {', '.join(texts)}",
        )
    say(texts[asked].rstrip("\n"))
