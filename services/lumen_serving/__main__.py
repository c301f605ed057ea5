"""`python -m lumen_serving` serves; `python -m lumen_serving prepare` computes label vectors."""

import sys


def main() -> None:
    """Run what the first argument names."""
    # Each side imports what it needs itself: a server must open its port quickly, and a `prepare`
    # with nothing to do must not load a runtime.
    if sys.argv[1:] == ["prepare"]:
        from lumen_serving.prepare import command  # noqa: PLC0415

        command.main()
    elif not sys.argv[1:]:
        from lumen_serving import main as serving  # noqa: PLC0415

        serving.main()
    else:
        sys.stderr.write("Usage: python -m lumen_serving [prepare]\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
