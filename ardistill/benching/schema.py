"""The JSON Schema of what `bench out=FILE.json` writes (draft 2020-12), made from the records themselves.

python -m ardistill.benching.schema > docs/bench.schema.json
"""

import sys
from typing import Any

from ardistill.benching.result import FORMAT, Result
from ardistill.evaluation.schema import schema_of
from ardistill.files import json_text


def schema() -> dict[str, Any]:
    return schema_of(Result, "bench", "a result of `ardistill bench`", FORMAT)


def text() -> str:
    """The schema as docs/bench.schema.json has it."""
    return json_text(schema())


if __name__ == "__main__":
    sys.stdout.write(text())
