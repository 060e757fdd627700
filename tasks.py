"""The collection of tasks, for ``invoke``; `vault_harness.cli` has them."""

from vault_harness.cli import collection

namespace = collection()
