"""`python -m lumen_router`: the router of one namespace, or of `lumen up`."""

from lumen_router.main import main

if __name__ == "__main__":
    main()
