"""Applications: a trained model and images in, results out."""
