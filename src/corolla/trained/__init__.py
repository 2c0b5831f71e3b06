"""A trained model and what lies beside it: model folder, run folder, own images, fitted priors."""

from corolla.trained.model import BATCH_SIZE, LARGEST_SEED, Images, Picture, TrainedModel, load, seeded_generator

__all__ = ["BATCH_SIZE", "LARGEST_SEED", "Images", "Picture", "TrainedModel", "load", "seeded_generator"]
