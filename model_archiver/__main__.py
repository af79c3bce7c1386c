"""Run the command line tool: `python -m model_archiver` is `model-archiver`."""

from model_archiver.cli import main

if __name__ == "__main__":
    main(prog_name="model-archiver")
