"""`python -m eigbench`."""

from eigbench.cli import main

if __name__ == "__main__":
    main()
