"""Run the command line with `python -m chat_history_conformance`."""

from chat_history_conformance.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
