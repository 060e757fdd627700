from __future__ import annotations

import os
from pathlib import Path

import pytest

from vault_harness.errors import SettingsError
from vault_harness.operator.migrate import assignment, parse, read


def values(text: str) -> dict[str, str]:
    return {name: variable.value for name, variable in parse(text).variables.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nB=2", {"A": "1", "B": "2"}),
        ("\ufeffA=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("export A=1\n  export\tB = 2", {"A": "1", "B": "2"}),
        ("A=a#b # comment\n#C=1\nB=#x", {"A": "a#b", "B": "#x"}),
        ("A= # nothing", {"A": ""}),
        ('A="one\ntwo\r\nthree"', {"A": "one\ntwo\r\nthree"}),
        ('A="a\\tb\\nc\\"d\\\\"', {"A": 'a\tb\nc"d\\'}),
        ("A='a\\tb $X `y`'", {"A": "a\\tb $X `y`"}),
        ("A=${B}\nB='${A}'", {"A": "${B}", "B": "${A}"}),
        ("A=\u00a0x\u2028", {"A": "\u00a0x\u2028"}),
        ("A='it'\"'\"'s'\nB=1", {"A": "it's", "B": "1"}),
        ("A='x'\"y\"z\\ w", {"A": "xyz w"}),
        ("A=1\nA=2\nA=3", {"A": "3"}),
        ("A.b-c=1\n\u00dcBER=x", {"A.b-c": "1", "\u00dcBER": "x"}),
        ("", {}),
        ("# only a comment", {}),
        ('A=\'{"a": "b c", "d": [1]}\'', {"A": '{"a": "b c", "d": [1]}'}),
        ("A=p@ss=word==", {"A": "p@ss=word=="}),
    ],
)
def test_what_is_read(text: str, expected: dict[str, str]) -> None:
    assert values(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('A=1\nB="never closed\nC=3', "line 2: a quote is opened and never closed"),
        ("A='x' y", "line 1: something follows the closing quote"),
        ("A=1\n\n  B C", "line 3: neither NAME=value nor a comment"),
        ("A=1\nexport A", "line 2: export without a value"),
        ("1A=x", "line 1: the text before the = is not a variable's name"),
        ("=x", "line 1: neither NAME=value nor a comment"),
        ("A='it's'\nB='that's'", "line 1: something follows the closing quote"),
        (
            "K=-----BEGIN RSA PRIVATE KEY-----\nMIIsecretsecret=\n-----END RSA PRIVATE KEY-----",
            "line 1: a key of several lines that is not in quotes",
        ),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    """The line is named by number and never quoted."""
    with pytest.raises(SettingsError) as refusal:
        parse(text)
    assert problem in refusal.value.cause
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("A=1\nA=1", "line 2: A: is there 2 times (lines 1, 2); the last one counts"),
        ("A=$'x\\n'", "$'...' is taken as written"),
        ("A=`x`", "backticks are part of the value"),
        ("A=x\\", "ends in a backslash"),
        ('A="\\$x"', "a backslash before $"),
        ("A=a$HOME", "has a $ that a shell would expand"),
        ('A="x\nB=2"', "span a line that looks like another assignment"),
        ("A='it''s'", "written in several pieces"),
        ('A="a"b', "written in several pieces"),
        ("A=\u00a0x", "Unicode space"),
        ("A=x\u2003", "Unicode space"),
        ("A='x\r\ny'\r\n", "carriage return inside its quotes"),
        ("A=x\0y", "NUL"),
        ("A=x#y", "take it for a comment"),
        (r"A='it\'s'", "decoded; a shell keeps it"),
        ("A=1;B=2", "line 1: A: has a blank or one of"),
        ("A=1\nMOTTO=hello world", "line 2: MOTTO: has a blank or one of"),
        ("URL=postgres://u:p@h/db?a=1&b=2", "a shell ends the value there"),
        ("P=pa\\ss", "has a backslash and no quotes around it"),
    ],
)
def test_what_is_noted(text: str, note: str) -> None:
    """Duplicates are, and forms that dotenv readers read differently."""
    assert any(note in str(each) for each in parse(text).notes)


def test_a_quiet_file_has_no_notes() -> None:
    """All readers agree on these forms."""
    assert parse("A=1\nB='$x'\nC=\"a b\"\n").notes == ()
    assert parse("A='1' # c\r\nB=\"2\"\r\n").notes == ()


def test_interpolation_is_as_a_shell_does_it(tmp_path: Path) -> None:
    """Lines above come first, then the environment."""
    (tmp_path / ".env").write_text("A=1\nB=${A}${HOME_OF}${C:-d}\nC=\"<${B}>\"\nD='${A}'\n")
    found = read(tmp_path / ".env", interpolate=True, environ={"HOME_OF": "h", "A": "other"})
    assert {n: v.value for n, v in found.variables.items()} == {
        "A": "1",
        "B": "1hd",
        "C": "<1hd>",
        "D": "${A}",
    }


def test_a_name_that_is_there_twice_has_its_value_of_the_lines_above(tmp_path: Path) -> None:
    """A shell does the same."""
    (tmp_path / ".env").write_text("P=dev\nURL=pg://u:${P}@h\nP=${P}-real\nLAST=${P}\n")
    found = read(tmp_path / ".env", interpolate=True, environ={"P": "of-the-shell"})
    assert {n: v.value for n, v in found.variables.items()} == {
        "URL": "pg://u:dev@h",
        "P": "dev-real",
        "LAST": "dev-real",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("""A='x${B}'"'"'y'""", "x${B}'y"),
        ("""A='${B}'"<${B}>"'s'""", "${B}<b>s"),
        ("""A='a'"\\${B}\\\\${B}\\"${B}\"""", 'a${B}\\b"b'),
    ],
    ids=["single", "double", "escaped"],
)
def test_only_pieces_in_double_quotes_are_interpolated(
    text: str, expected: str, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"B=b\n{text}\n")
    assert read(tmp_path / ".env", interpolate=True).variables["A"].value == expected


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_byte_order_mark_says_the_encoding(tmp_path: Path, encoding: str) -> None:
    """Files of Windows tools have one."""
    (tmp_path / ".env").write_bytes("A=\u00fc\r\n".encode(encoding))
    assert read(tmp_path / ".env").variables["A"].value == "\u00fc"


def test_another_encoding_must_be_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("A=1\nB=s\u00fc\u00df\n".encode("latin-1"))
    with pytest.raises(SettingsError, match="line 2: this is not utf-8 text") as refusal:
        read(tmp_path / ".env")
    assert refusal.value.__cause__ is None
    assert read(tmp_path / ".env", encoding="latin-1").variables["B"].value == "s\u00fc\u00df"
    with pytest.raises(SettingsError, match="no encoding called"):
        read(tmp_path / ".env", encoding="klingon")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere") as refusal:
        read(tmp_path / "nowhere")
    assert "--env-file" in refusal.value.remedy


def test_a_value_in_the_place_of_the_file_is_not_repeated() -> None:
    with pytest.raises(SettingsError, match="the file that --env-file names") as refusal:
        read(Path("hvs.not-a-file"))
    assert "hvs." not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    """Reading it could hang forever."""
    os.mkfifo(tmp_path / ".env")
    with pytest.raises(SettingsError, match="not a regular file"):
        read(tmp_path / ".env")


def test_a_folder_is_reported_as_a_folder(tmp_path: Path) -> None:
    """The remedy is to name a file in it."""
    (tmp_path / "dir.env").mkdir()
    with pytest.raises(SettingsError, match=r"dir\.env is a folder") as refusal:
        read(tmp_path / "dir.env")
    assert refusal.value.remedy == "Name the file in it with --env-file."


def test_an_empty_variable_is_noted() -> None:
    """It may be forgotten."""
    assert [str(note) for note in parse("A=1\nB=\nC=''\n").notes] == [
        "line 2: B: is empty",
        "line 3: C: is empty",
    ]


def test_values_are_in_no_repr() -> None:
    assert "hunter2" not in repr(parse("PASSWORD=hunter2"))


def test_a_value_that_readers_take_differently_is_not_written() -> None:
    """It has both kinds of quotes."""
    with pytest.raises(SettingsError):
        assignment("A", '/it\'s "here"')
