import sys

if __name__ == "__main__":
    # Not above: the processes of a load import this module once more, and need nothing of it.
    from tests.bench.command import main

    sys.exit(main())
