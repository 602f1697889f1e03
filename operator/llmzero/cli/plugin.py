"""What kubectl starts for ``kubectl llmzero``; without the cluster's libraries it says so."""

import sys

from llmzero.cli.output import Exit, called, errors


def main() -> None:
    """Runs the command line."""
    try:
        from llmzero.cli.kubectl import app
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        errors.print(
            f"kubectl llmzero needs the Python package {package}: pip install 'llmzero[operator]'",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        sys.exit(Exit.MACHINE)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    called(app, prog_name="kubectl llmzero")


if __name__ == "__main__":
    main()
