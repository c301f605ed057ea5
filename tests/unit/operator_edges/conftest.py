import importlib.util
import sys
from pathlib import Path

# importlib mode puts no test folder on the path; these modules are imported by name.
for _name in ("virtual_time", "reconciled"):
    _spec = importlib.util.spec_from_file_location(_name, Path(__file__).parent / f"{_name}.py")
    _module = sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(_module)
