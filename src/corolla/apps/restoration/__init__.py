"""Restoration: images with noise or gaps, through a trained model, to whole ones."""

from corolla.apps.restoration.denoising import Noise, corrupt, denoise, parse_noise
from corolla.apps.restoration.files import denoise_files, inpaint_files
from corolla.apps.restoration.inpainting import check_completions, inpaint
from corolla.apps.restoration.masks import mask_of
from corolla.apps.restoration.residuals import ResidualPrior, fit_residual_prior, residual_prior

__all__ = [
    "Noise",
    "ResidualPrior",
    "check_completions",
    "corrupt",
    "denoise",
    "denoise_files",
    "fit_residual_prior",
    "inpaint",
    "inpaint_files",
    "mask_of",
    "parse_noise",
    "residual_prior",
]
