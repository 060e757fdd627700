from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vault_harness.settings import checkout

ROOT = checkout() or Path()

LINES = [
    ("vault-harness scen", ["scenarios"]),
    ("./dev tim", ["timeline"]),
    ("invoke jud", ["judge"]),
    ("./dev subject.new g", ["go"]),
    ("./dev judge --eng", ["--engine"]),
    ("./dev judge --engine ", ["docker", "external", "process"]),
    ("./dev scenarios --subject ./x --only TOK-20", ["TOK-20"]),
    ("./dev timeline XX", []),
    ("./dev unlock up", []),
]

BASH = r"""
. "$1"
COMP_WORDS=($2)
case "$2" in *' ') COMP_WORDS+=("") ;; esac
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
words=($(complete -p "${COMP_WORDS[0]##*/}"))
"${words[-2]}"
printf '%s\n' "${COMPREPLY[@]}"
"""

ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PROMPT=; source $1; echo rea''dy"
zpty -r shell out '*ready*'
zpty -w -n shell "$2"$'\t'
for _ in {1..100}; do
    zpty -r -t shell part && out+=$part
    [[ $out == *"$3"* ]] && exit 0
    sleep 0.1
done
print -r -- "$out"
exit 1
"""


@pytest.fixture
def script(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    shell = str(request.param)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    command = [sys.executable, "-m", "vault_harness", "completion", shell]
    file = tmp_path / "script"
    file.write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return shell, file


def run(*words: str) -> list[str]:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split("\n")


@pytest.mark.parametrize("script", ["bash", "fish"], indirect=True)
def test_each_line_completes_its_words(script: tuple[str, Path]) -> None:
    shell, file = script
    for line, proposed in LINES:
        if shell == "bash":
            found = run("bash", "-c", BASH, "bash", str(file), line)
        else:
            text = f"source {file}; complete -C '{line}'"
            found = [each.partition("\t")[0] for each in run("fish", "--no-config", "-c", text)]
        assert sorted(filter(None, found)) == proposed, line


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh(script: tuple[str, Path]) -> None:
    for line, proposed in (line for line in LINES if len(line[1]) == 1):
        begun, _, _ = line.rpartition(" ")
        run("zsh", "-f", "-c", ZSH, "zsh", str(script[1]), line, f"{begun} {proposed[0]}")


@pytest.mark.slow
@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_how_long_tab_takes(script: tuple[str, Path]) -> None:
    times = []
    for _ in range(5):
        before = time.monotonic()
        run("bash", "-c", BASH, "bash", str(script[1]), "./dev scenarios --only TOK")
        times.append(time.monotonic() - before)
    assert min(times) < 0.25
