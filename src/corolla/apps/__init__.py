"""A trained model at work: features, anomalies, restoration, compression. None imports another."""
