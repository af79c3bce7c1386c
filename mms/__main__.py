"""Run the front end: `python -m mms` is `multi-model-server`."""

from mms.server.cli import multi_model_server

if __name__ == "__main__":
    multi_model_server()
