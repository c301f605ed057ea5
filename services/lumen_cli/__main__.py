"""`python -m lumen_cli` is `lumen`."""

from lumen_cli.main import main

main()
