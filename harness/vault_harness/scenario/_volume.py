"""A file as a platform mounts it into a container: it is reached by links, one of which moves."""

from __future__ import annotations

from pathlib import Path
from secrets import token_hex

from vault_harness.files import private_directory, write_private


def project(file: Path, content: str) -> None:
    """Put a content behind `file`, as a kubelet does with a Secret, or with the token of a pod.

    `file` is a link that stays as it is; on its way is the link ``..<name>``, which leads to a
    folder of one content. Another content has a folder of its own, to which that link is moved by
    renaming. So whoever opens `file` has the new one, and who has asked once where it leads keeps
    the old one.

    Args:
        file: Where it is looked for.
        content: What is in it from now on.
    """
    folder = private_directory(file.parent / f"..{file.name}-{token_hex(4)}")
    write_private(folder / file.name, content)
    moving = file.parent / f"..{file.name}"
    _lead(moving, Path(folder.name))
    _lead(file, Path(moving.name) / file.name)


def _lead(link: Path, target: Path) -> None:
    """Let a link lead there; there is no moment without it."""
    new = link.with_name(f".{link.name}.new")
    new.symlink_to(target)
    new.replace(link)
