import importlib.util
import sys
from pathlib import Path

# importlib mode puts no test folder on the path; this module is imported by name.
_spec = importlib.util.spec_from_file_location(
    "virtual_time", Path(__file__).parent / "virtual_time.py"
)
virtual_time = sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(virtual_time)
