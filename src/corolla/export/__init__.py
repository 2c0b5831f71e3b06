"""A trained model in other people's formats: ONNX, each folder checked against the model itself."""

from corolla.export.folder import Exported, check_export, export_model
from corolla.export.parity import Differences

__all__ = ["Differences", "Exported", "check_export", "export_model"]
