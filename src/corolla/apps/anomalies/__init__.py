"""How far images are from those that a model was trained on: scores with a known false-positive rate, and where."""

from corolla.apps.anomalies.calibration import Calibration, calibrate, load_calibration, save_calibration
from corolla.apps.anomalies.search import anomaly_scores, find_anomalies, write_anomalies

__all__ = [
    "Calibration",
    "anomaly_scores",
    "calibrate",
    "find_anomalies",
    "load_calibration",
    "save_calibration",
    "write_anomalies",
]
