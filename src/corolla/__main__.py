"""`python -m corolla` is the command `corolla`."""

from corolla.cli import main

if __name__ == "__main__":
    main()
