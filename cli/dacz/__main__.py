"""`python -m dacz`: the same as `dacz`."""

from dacz.app import main

if __name__ == "__main__":
    main()
