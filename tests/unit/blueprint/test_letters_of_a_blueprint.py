"""A blueprint is read as UTF-8 in any locale."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.running import ran

TEXT = """name = "shop"

[mounts.shop]
type = "kv"
version = 2

[policies]
till = { file = "till.hcl" }

[secrets.shop.till]
GREETING = "Grüße"
"""

LOADED = """
import sys
from vault_harness.local.blueprint import Blueprint
blueprint = Blueprint.load(sys.argv[1])
((_, _, secret),) = blueprint.paths()
print(ascii(secret["GREETING"].value), ascii(blueprint.policies["till"].rules[:8]))
"""


def test_a_locale_without_these_letters(tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    file.write_bytes(TEXT.encode())
    policy = '# Größe\npath "shop/data/till" { capabilities = ["read"] }\n'
    (tmp_path / "till.hcl").write_bytes(policy.encode())
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = ran([sys.executable, "-c", LOADED, str(file)], env={**os.environ, **plain})
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{'Grüße'!a} {policy[:8]!a}\n"
