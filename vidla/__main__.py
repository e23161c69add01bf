"""`python -m vidla`: the same as the command `vidla`."""

from vidla.cli import main

if __name__ == "__main__":
    main()
