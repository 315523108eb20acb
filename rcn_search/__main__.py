"""``python -m rcn_search``: the same as ``rcn-search``."""

from rcn_search.cli.main import main

if __name__ == "__main__":
    main()
