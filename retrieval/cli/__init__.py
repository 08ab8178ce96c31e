"""The command line: `retrieval`, and `build-index` and `query` as commands of their own.

Entry points load almost nothing before they have set up the signals.
"""


def main() -> None:
    """Entry point of `retrieval`."""
    _start("retrieval", "retrieval.cli.commands:retrieval")


def build_index_main() -> None:
    """Entry point of `build-index`."""
    _start("build-index", "retrieval.cli.build_index:build_index")


def query_main() -> None:
    """Entry point of `query`."""
    _start("query", "retrieval.cli.query:query")


def _start(name: str, where: str) -> None:
    try:
        from retrieval.cli.process import start
    except KeyboardInterrupt:  # before the signals are set up
        import sys

        sys.stderr.write("error: interrupted; what was there before is unchanged\n")
        sys.exit(130)

    def work() -> int:
        from retrieval.cli.app import load, run

        return run(load(where), name)

    start(work)
