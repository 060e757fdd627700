"""Write JSON Schemas of a run's files: ``python -m vault_harness.judge.report.schemas FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from vault_harness import files
from vault_harness.judge.report.formats import Journal, Score


def schemas() -> dict[str, str]:
    """Return the JSON Schemas by file name."""
    made: dict[str, type[BaseModel]] = {"journal.schema.json": Journal, "score.schema.json": Score}
    return {
        name: json.dumps(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                **model.model_json_schema(),
            },
            indent=2,
        )
        + "\n"
        for name, model in made.items()
    }


def main(arguments: list[str]) -> None:
    """Write the schemas into a folder."""
    for name, text in schemas().items():
        files.write_text(Path(arguments[0]) / name, text)


if __name__ == "__main__":
    main(sys.argv[1:])
