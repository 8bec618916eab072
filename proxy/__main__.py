"""``gatepass`` and ``python -m proxy``: the same program."""

import sys

from proxy.cli.app import invoke


def main() -> None:
    """Run the command line and exit with its status."""
    sys.exit(invoke(sys.argv[1:]))


if __name__ == "__main__":
    main()
