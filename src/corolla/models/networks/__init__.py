"""Encoders and decoders, one family a file."""

from corolla.models.networks.burgess import Burgess
from corolla.models.networks.handmade import Handmade
from corolla.models.networks.notebook import Notebook
from corolla.models.networks.resnet import ResNet

__all__ = ["Burgess", "Handmade", "Notebook", "ResNet"]
