"""`python -m tinygrad_fast doctor` examines what a GPU and the emulator need."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """The exit status: 0 if a GPU can be used, 1 if not, 2 for a word that is not known."""
    if arguments != ["doctor"]:
        print("usage: python -m tinygrad_fast doctor", file=sys.stderr)
        return 2
    from .backend import doctor

    return 0 if doctor.examine() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
