"""`python -m eigbench`."""

if __name__ == "__main__":
    try:
        from eigbench.cli import main

        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
