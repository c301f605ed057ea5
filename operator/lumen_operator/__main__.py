"""`python -m lumen_operator`: the operator of a cluster, or of one namespace."""

from lumen_operator.main import main

if __name__ == "__main__":
    main()
