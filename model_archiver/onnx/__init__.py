"""The option --convert: an ONNX model becomes a symbol and parameters of MXNet. Runs in the command line tool."""

from model_archiver.onnx.convert import convert_onnx, find_onnx_file

__all__ = ["convert_onnx", "find_onnx_file"]
