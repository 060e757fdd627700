"""``python -m vault_harness.subjects SUBJECT``: a Python client as a process of its own."""

import sys

from vault_harness.subjects.serve import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
