from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FETCHED = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?https?:[^>]+>")


@pytest.mark.slow  # builds the whole site
def test_the_site_fetches_nothing(tmp_path: Path) -> None:
    mkdocs = [str(Path(sys.executable).parent / "mkdocs"), "build", "--strict"]
    subprocess.run([*mkdocs, "--site-dir", str(tmp_path)], cwd=ROOT, check=True)
    pages = [page.read_text("utf-8") for page in tmp_path.rglob("*.html")]
    styles = [style.read_text("utf-8") for style in tmp_path.rglob("*.css")]
    assert len(pages) > 10
    assert {one for page in pages for one in FETCHED.findall(page)} == set()
    assert {one for style in styles for one in re.findall(r"url\(\"?https?:", style)} == set()
