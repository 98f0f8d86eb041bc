"""The parity script, and a run of it on the test's folder."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def parity():
    """The script, imported as it imports its neighbours."""
    sys.path.insert(0, str(BENCHMARKS))
    import parity

    yield parity
    sys.path.remove(str(BENCHMARKS))
    for name in [name for name in sys.modules if name.split(".")[0] in ("parity", "golden", "parity_checks")]:
        del sys.modules[name]


@pytest.fixture
def judged(parity, tmp_path, capsys):
    """Runs the script on the test's folder: the exit code, and the records by name."""

    def run():
        code = parity.main([str(tmp_path), "--json"])
        told = json.loads(capsys.readouterr().out)
        assert told["ok"] is (code == 0) is all(record["ok"] for record in told["fixtures"])
        return code, {record["name"]: record for record in told["fixtures"]}

    return run
