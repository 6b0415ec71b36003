"""`python -m dlinear` is the command `dlinear`."""

from dlinear.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
