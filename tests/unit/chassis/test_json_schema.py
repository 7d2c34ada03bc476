"""Rules of starting without what nobody here needs."""

import subprocess
import sys

from services.chassis.config import REPOSITORY

IMPORTED_WITHOUT = """
import sys
import services.catalog.adapters.json_schema, services.scheduler.adapters.json_schema
assert "jsonschema" in sys.modules and "rfc3987_syntax" not in sys.modules
import rfc3987_syntax
"""


def test_schemas_are_checked_without_the_grammars_of_formats_which_others_can_still_import():
    subprocess.run([sys.executable, "-c", IMPORTED_WITHOUT], cwd=REPOSITORY, check=True, timeout=60)
