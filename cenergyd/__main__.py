"""``python -m cenergyd`` is the command ``cenergyd``."""

from cenergyd.cli import main

if __name__ == "__main__":
    main()
