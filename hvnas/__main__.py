"""``python -m hvnas``: the same as the console script."""

from hvnas.cli import main

if __name__ == "__main__":
    main()
