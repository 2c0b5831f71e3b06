"""How far images are from those that a model was trained on: scores with a known false-positive rate, and where."""

from corolla.apps.anomalies.calibration import (
    Calibration,
    calibrate,
    calibration_file,
    load_calibration,
    save_calibration,
)
from corolla.apps.anomalies.scoring import SCORES, ScoreName, check_rate, check_score, p_values
from corolla.apps.anomalies.search import Anomalies, anomaly_scores, find_anomalies
from corolla.apps.anomalies.write import Written, check_count, heat, write_anomalies

__all__ = [
    "SCORES",
    "Anomalies",
    "Calibration",
    "ScoreName",
    "Written",
    "anomaly_scores",
    "calibrate",
    "calibration_file",
    "check_count",
    "check_rate",
    "check_score",
    "find_anomalies",
    "heat",
    "load_calibration",
    "p_values",
    "save_calibration",
    "write_anomalies",
]
