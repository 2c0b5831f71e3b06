"""The VAE, its encoders and decoders, and the feature network Lite0."""
