"""Restoration: images with noise or gaps, through a trained model, to whole ones."""

from corolla.apps.restoration.denoising import Denoised, denoise
from corolla.apps.restoration.inpainting import Inpainted, check_completions, check_prior, inpaint
from corolla.apps.restoration.noise import Noise, corrupt, parse_noise
from corolla.apps.restoration.residuals import ResidualPrior, fit_residual_prior, residual_prior

__all__ = [
    "Denoised",
    "Inpainted",
    "Noise",
    "ResidualPrior",
    "check_completions",
    "check_prior",
    "corrupt",
    "denoise",
    "fit_residual_prior",
    "inpaint",
    "parse_noise",
    "residual_prior",
]
