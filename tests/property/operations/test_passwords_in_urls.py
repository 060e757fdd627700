"""Any password can be read from a URL that holds it, and replaced there."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import psycopg.conninfo
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from redis import ConnectionPool

from tests.unit.operations.kv_in_memory import KvInMemory
from vault_harness.local.blueprint import Blueprint, Value
from vault_harness.operator.migrate import VariableMap, make_plan, parse
from vault_harness.operator.rotate import known_targets, roll_back, rotate_secret

NASTY = "p@ss/w:rd?x%20y"
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
    st.text(st.sampled_from("p@/:?#[]%20 +&=;,'\"\\\n\té\u2100"), min_size=1, max_size=12),
)
FOR_LIBPQ = TEXTS.filter(lambda text: "\0" not in text)
HOSTS = st.sampled_from(["redis", "db.example", "127.0.0.1", "[::1]"])
DATABASE, REDIS = (known_targets()[name] for name in ("database", "redis"))
READ_BY_KOMBU = ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")


def filled(template: str, **values: str) -> str:
    value = Value(template=template)
    return value.fill("a", {("a", key): text for key, text in values.items()})


def dotenv(values: Mapping[str, str]) -> str:
    escaped = {
        name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in values.items()
    }
    return "".join(f"{name}='{value}'\n" for name, value in escaped.items())


def for_redis(url: str) -> dict[str, Any]:
    """Return the arguments with which redis-py connects."""
    found: dict[str, Any] = ConnectionPool.from_url(url).connection_kwargs
    return found


def password_for_redis(url: str) -> str:
    """Return the password with which redis-py logs in."""
    return str(for_redis(url).get("password", ""))


def password_for_kombu(url: str) -> str:
    """Return the password with which kombu and dj-database-url log in."""
    return unquote(urlsplit(url).password or "")


@given(password=TEXTS, user=TEXTS, host=HOSTS)
@example(password=NASTY, user="", host="redis")
def test_a_template_for_redis(password: str, user: str, host: str) -> None:
    url = filled("redis://{USER}:{WORD}@{HOST}:{PORT}/0", USER=user, WORD=password, HOST=host,
                 PORT="6379")  # fmt: skip
    found = for_redis(url)
    assert (found.get("username", ""), found["password"]) == (user, password)
    assert (found["host"], found["port"]) == (host.strip("[]"), 6379)
    assert password_for_kombu(url) == password


@given(password=FOR_LIBPQ, user=FOR_LIBPQ, database=FOR_LIBPQ, host=HOSTS)
def test_a_template_for_postgresql(password: str, user: str, database: str, host: str) -> None:
    """Libpq finds the database's name too."""
    url = filled("postgresql://{U}:{P}@{H}:5432/{D}?application_name={U}", U=user, P=password,
                 H=host, D=database)  # fmt: skip
    assert psycopg.conninfo.conninfo_to_dict(url) == {
        "user": user,
        "password": password,
        "host": host.strip("[]"),
        "port": "5432",
        "dbname": database,
        "application_name": user,
    }
    assert password_for_kombu(url) == password


@given(value=TEXTS)
def test_a_template_that_is_no_url(value: str) -> None:
    """It may be the base of one; its values are unchanged."""
    assert filled("host=db password={A}", A=value) == f"host=db password={value}"
    assert filled("{A}/login", A="https://shop.example") == "https://shop.example/login"
    assert filled("{A}://{B}", A="redis+sentinel", B="[::1]") == "redis+sentinel://[::1]"


@given(first=TEXTS, second=TEXTS)
def test_a_template_for_a_list(first: str, second: str) -> None:
    text = filled("redis://:{A}@a:1/0;redis://:{B}@b:2/0", A=first, B=second)
    assert [password_for_redis(url) for url in text.split(";")] == [first, second]


@given(password=TEXTS, placeholder=st.text("abcXYZ012", min_size=32, max_size=32))
@example(password=NASTY, placeholder="0" * 32)
def test_a_migration(password: str, placeholder: str) -> None:
    """The file's value is put into each URL where seeding put the placeholder."""
    blueprint = Blueprint.default()
    kv = KvInMemory(
        {
            "backend/redis": {
                "REDIS_PASSWORD": placeholder,
                "REDIS_URL": f"redis://:{placeholder}@redis:6379/0",
            },
            "backend/celery": {
                name: f"redis://:{placeholder}@redis:6379/{number}"
                for number, name in enumerate(READ_BY_KOMBU, 1)
            },
        }
    )
    plan = make_plan(
        kv,
        parse(dotenv({"REDIS_PASSWORD": password})),
        VariableMap.guide(),
        blueprint=blueprint,
    )
    made = {each.name: each.value for each in plan.placements}
    assert password_for_redis(made["REDIS_URL"]) == password
    assert [password_for_kombu(made[name]) for name in READ_BY_KOMBU] == [password] * 2


# A rotation makes a slow digest of the new value.
FEW = settings(max_examples=settings().max_examples // 8)
ENCODINGS = st.sampled_from(
    [
        lambda text: quote(text, safe=""),
        lambda text: quote(text, safe="!$&'()*+,;=~"),
        lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    ]
)
TAILS = st.sampled_from(["", "/", "/0", "/0?", "/0?a=b@c&d=%2f", "/x#", "/x;y?z=;#@"])


@FEW
@given(
    password=TEXTS,
    encode=ENCODINGS,
    user=TEXTS,
    scheme=st.sampled_from(["redis", "REDISS", "redis+sentinel", "valkey"]),
    tail=TAILS,
)
def test_a_rotation(password: str, encode: Any, user: str, scheme: str, tail: str) -> None:
    """The old one may be encoded in any way; the rest of the URL stays."""
    head, end = f"{scheme}://{quote(user, safe='')}:", f"@h1:1,h2:2{tail}"
    url = f"{head}{encode(password)}{end}"
    kv = KvInMemory({REDIS.path: {REDIS.key: password}, "x": {"URL": url, "LIST": f"{url};{url}"}})
    with tempfile.TemporaryDirectory() as directory:
        rotate_secret(kv, REDIS, Path(directory))
        new, now = kv.read(REDIS.path).data[REDIS.key], kv.read("x").data
        assert now["URL"] == f"{head}{new}{end}"
        assert now["LIST"] == f"{now['URL']};{now['URL']}"
        roll_back(kv, REDIS, Path(directory))
    assert kv.read("x").data["URL"] == f"{head}{quote(password, safe='')}{end}"


@FEW
@given(password=TEXTS, kind=st.sampled_from(["redis", "postgresql"]))
@example(password=NASTY, kind="redis")
@example(password=NASTY, kind="postgresql")
def test_a_rotation_repairs_a_url_that_was_not_encoded(password: str, kind: str) -> None:
    """An earlier release broke such URLs."""
    target = REDIS if kind == "redis" else DATABASE
    broken = f"{kind}://app:{password}@host/0"
    kv = KvInMemory(
        {target.path: {target.key: password, target.user_key: "app"}, "x": {"A": broken}}
    )
    with tempfile.TemporaryDirectory() as directory:
        rotate_secret(kv, target, Path(directory))
        new = kv.read(target.path).data[target.key]
        assert kv.read("x").data["A"] == f"{kind}://app:{new}@host/0"
        roll_back(kv, target, Path(directory))
    url = kv.read("x").data["A"]
    assert urlsplit(url).hostname == "host"
    assert password_for_kombu(url) == password


@FEW
@given(text=TEXTS, password=TEXTS)
def test_a_value_without_the_password_stays(text: str, password: str) -> None:
    assume(password not in text and password not in unquote(text))
    values = {"A": text, "B": f"redis://:{quote(text, safe='')}@h/0", "C": f"redis://:{text}@h/0"}
    kv = KvInMemory({REDIS.path: {REDIS.key: password}, "x": values})
    with tempfile.TemporaryDirectory() as directory:
        assert rotate_secret(kv, REDIS, Path(directory)).missed == ()
    assert kv.read("x").data == values
