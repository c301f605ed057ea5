"""`python -m lumen_resources` is the init container."""

from lumen_resources.main import main

if __name__ == "__main__":
    main()
