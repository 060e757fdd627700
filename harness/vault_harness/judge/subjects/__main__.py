"""Run a Python client as a program: ``python -m vault_harness.judge.subjects SUBJECT``."""

import sys

from vault_harness.judge.subjects.serve import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
