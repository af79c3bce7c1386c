"""The option --quantize: an MXNet model in a lower precision, judged against fp32. Runs in the command line tool."""

from model_archiver.quantization.quantize import PRECISIONS, REPORT, check_options, quantize_model

__all__ = ["PRECISIONS", "REPORT", "check_options", "quantize_model"]
