# %% [markdown]
# # β-VAE on Oxford Flowers
#
# An auto-encoder, a variational auto-encoder (VAE) and a β-VAE are close relatives. They can have the same network and
# see the same images, and still learn three different things. In this notebook you train all three on photographs of
# flowers and look at what sets them apart: how well they reconstruct, what they invent, and what their single numbers
# mean.
#
# Run it from top to bottom, here or on Colab. It needs no GPU, but uses one if there is one.

# %% [markdown]
# ## Installation
#
# Corolla is not on PyPI yet. The next cell installs it from a checkout of its repository: the one that this notebook
# lies in, or one in the current folder. On Colab, bring the repository there first, in a cell of its own: `!git clone`
# and its address, or upload it as a folder.

# %%
import importlib.util
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("corolla") is None:
    here = Path.cwd()
    places = [here, *here.parents, *sorted(path for path in here.iterdir() if path.is_dir())]
    checkout = next((place for place in places if (place / "src" / "corolla" / "__init__.py").is_file()), None)
    if checkout is None:
        raise SystemExit(
            f"Corolla is not installed, and there is no checkout of it in or above {here}. "
            "Clone or upload its repository there, then run this cell again."
        )
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", str(checkout)], check=True)
    importlib.invalidate_caches()

import corolla

print("Corolla", corolla.__version__)

# %% [markdown]
# ## Settings
#
# Everything that you may want to change is here. The flowers are downloaded once, from their official host or from a
# mirror (a folder or URL that holds the data set's three files). `SOURCE = "florets"` takes drawn flowers instead and
# downloads nothing. `SOURCE = "folder:photos"` takes your own images.

# %%
import os

SOURCE = os.environ.get("COROLLA_NOTEBOOK_SOURCE", "flowers102")
MIRROR = os.environ.get("COROLLA_NOTEBOOK_MIRROR") or None
STEPS = int(os.environ.get("COROLLA_NOTEBOOK_STEPS", "1500"))  # optimiser steps of each of the three trainings
SIZE = int(os.environ.get("COROLLA_NOTEBOOK_SIZE", "64"))  # height and width of the images; a multiple of 8
LATENTS = int(os.environ.get("COROLLA_NOTEBOOK_LATENTS", "64"))  # numbers in a code
BETA = float(os.environ.get("COROLLA_NOTEBOOK_BETA", "4"))
RUNS = Path(os.environ.get("COROLLA_NOTEBOOK_RUNS", "runs/notebook"))

# %% [markdown]
# ## Three models
#
# ### The auto-encoder
#
# An *encoder* squeezes an image $x$ into a short vector of numbers, its *code* $z$. A *decoder* makes an image of the
# code. Both are trained together so that the result is like the original:
#
# $$\mathcal{L}_\text{AE}(x) = -\log p\bigl(x \mid z = \mu(x)\bigr)$$
#
# Nothing is asked of the code but that the decoder can use it. So the codes may lie anywhere, far apart, and what lies
# between two of them need not mean anything.
#
# ### The variational auto-encoder
#
# The encoder of a VAE gives no point but a cloud: a Gaussian $q(z \mid x)$ with a mean and a standard deviation for
# each latent. In training, the decoder sees a random draw from it. The second term of the loss is the price of the
# cloud: its distance from the *prior* $p(z) = \mathcal{N}(0, I)$, a standard Gaussian that is the same for all images.
#
# $$\mathcal{L}_\text{VAE}(x) = -\mathbb{E}_{q(z \mid x)} \log p(x \mid z) +
# \mathrm{KL}\bigl(q(z \mid x) \,\|\, p(z)\bigr)$$
#
# The first term is called *distortion*: how unfaithful the result is. The second is called *rate*: how much the code
# says about the image. Minus the sum is a lower bound of $\log p(x)$.
#
# The noise makes neighbouring codes decode to similar images. The price draws all clouds together around the origin.
# So one can draw a code from the prior and decode it: the model invents an image.
#
# ### The β-VAE
#
# A β-VAE makes the rate dearer (or cheaper):
#
# $$\mathcal{L}_\beta(x) = -\mathbb{E}_{q(z \mid x)} \log p(x \mid z) +
# \beta \, \mathrm{KL}\bigl(q(z \mid x) \,\|\, p(z)\bigr)$$
#
# With β = 1 it is the VAE. With a larger β only the most useful information is worth its price, and the model tends to
# give each independent property of the images a latent of its own. That makes the code easier to read. It costs
# detail.
#
# All terms are in *nats per image*: summed over pixels and latents, averaged over images. One nat is about 1.44 bits.
#
# | | auto-encoder | VAE | β-VAE |
# |---|---|---|---|
# | an image is | a point | a cloud near the origin | a cloud in which information is dear |
# | loss | distortion | distortion + rate | distortion + β · rate |
# | good for | compression, removing noise, anomalies | new images, probabilities | features that can be read |

# %% [markdown]
# ## The data
#
# Oxford Flowers 102 (Nilsback and Zisserman, 2008) holds 8,189 photographs of 102 species. In its official splits only
# 1,020 are for training, 1,020 for validation and 6,149 for the test: a small training set, which is part of what
# makes it interesting. The photographs belong to the people who took them. They are for research, so mind whose they
# are before you publish any.
#
# Corolla decodes each image once, scales it, and keeps the pixels in a file, the *cache*. Later runs start at once.

# %%
import numpy as np
from IPython.display import display
from PIL import Image

from corolla.data import open_cache, open_source, recipe_named
from corolla.pictures.grids import Row, grid, sheet

source = open_source(SOURCE, mirror=MIRROR)
cache = open_cache(source, recipe_named("fit"), SIZE, SIZE)
print({name: len(rows) for name, rows in cache.splits.items()}, "images of", cache.images.shape[1:])

# %%
chosen = np.random.default_rng(0).choice(cache.splits["train"], size=min(10, len(cache.splits["train"])), replace=False)
labels = [""] * len(chosen) if cache.labels is None else [cache.label_names[cache.labels[row]] for row in chosen]
print(*(f"{number + 1} {label}" for number, label in enumerate(labels)), sep=", ")
display(grid(cache.images[chosen], columns=5))

# %% [markdown]
# ## The recipe
#
# What becomes of a photograph before a model sees it is called a *recipe*. `fit` only scales and crops. The study that
# Corolla grew from used a longer one, called `enhance` here: it cuts out the heart of the flower, strengthens colours
# and contrast, sharpens the edges and softens the noise. Here it is, step by step.

# %%
SHOWN_PX = 160


def shown(image: Image.Image) -> np.ndarray:
    """An image of any size, small enough to be shown beside others."""
    return recipe_named("fit").apply(image, SHOWN_PX, SHOWN_PX)


# The source's own picture, as large as `crop` makes it, stands for the photograph.
original = Image.fromarray(recipe_named("crop").apply(source.picture(int(chosen[0])), 256, 256))
stages = recipe_named("enhance").stages(original, 136, 136)
for number, (label, _) in enumerate(stages):
    print(number, label)
display(grid(np.stack([shown(image) for _, image in stages]), columns=6))

# %% [markdown]
# The end of the recipe takes the middle of a 256-pixel picture. That suits the study's 136×136 pixels. At 64×64 little
# of the flower would be left, so the models below are trained with `fit`. To try the study itself, run `corolla train
# --preset notebook` on a command line.

# %% [markdown]
# ## Training
#
# The three trainings differ in one setting, `objective.name` (and β). Network, images, order of the images, seed and
# number of steps are the same. `corolla.fit` leaves a *run folder* with the model, its scores and pictures, and
# returns the best model. A GPU is used if there is one.

# %%
drawn = SOURCE.startswith("florets")  # turn and place are factors of drawn flowers: nothing may mirror or move them
base = corolla.preset("flowers").updated(
    {
        "data.flip": not drawn,
        "data.shift_px": 0 if drawn else 4,
        "data.source": SOURCE,
        "data.mirror": MIRROR,
        "data.size": SIZE,
        "network.latent_dim": LATENTS,
        "training.max_steps": STEPS,
        "training.evaluate_every": max(5, STEPS // 20),
    }
)
OBJECTIVES = {
    "AE": {"objective.name": "ae"},
    "VAE": {"objective.name": "vae"},
    "beta-VAE": {"objective.name": "beta_vae", "objective.beta": BETA},
}
folders = {name: RUNS / changes["objective.name"] for name, changes in OBJECTIVES.items()}
models = {}
for name, changes in OBJECTIVES.items():
    print(name)
    models[name] = corolla.fit(base.updated(changes), folders[name], force=True)

# %% [markdown]
# Each run folder holds a table, `metrics.csv`, with a row for each evaluation on images that the model was not trained
# on.

# %%
import csv

import matplotlib.pyplot as plt


def column(name: str, quantity: str) -> list[float]:
    """One column of a run's metrics.csv."""
    with (folders[name] / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [float(row[quantity]) for row in csv.DictReader(file)]


titles = {"reconstruction": "distortion (nats per image)", "kl": "rate (nats per image)", "psnr_db": "PSNR (dB)"}
figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
for axis, (quantity, title) in zip(axes, titles.items(), strict=True):
    for name in models:
        axis.plot(column(name, "step"), column(name, quantity), label=name)
    axis.set(title=title, xlabel="step")
axes[0].legend()
plt.show()

# %%
print(f"{'':10}{'distortion':>12}{'rate':>10}{'PSNR':>8}{'active latents':>17}")
for name, model in models.items():
    scores = model.card.scores
    distortion, rate, psnr = scores["reconstruction"], scores["kl"], scores["psnr_db"]
    print(f"{name:10}{distortion:12.1f}{rate:10.1f}{psnr:8.2f}{scores['active_latents']:12.0f} of {model.latent_dim}")

# %% [markdown]
# Read the table from the top. The auto-encoder's rate is only reported, never paid for, so it may be anything. The VAE
# pays one nat for each nat of rate, the β-VAE pays β: its rate is lower, its distortion higher, and more of its
# latents are *dead*, which means that they carry less than 0.01 nats. The distortion is in the thousands even for a
# good model: with this likelihood its smallest possible value is the pixels' own entropy, not zero.

# %% [markdown]
# ## Reconstructions
#
# Images from the validation split, which none of the models has been trained on.

# %%
originals = cache.images[cache.splits["val"][:10]]
rows = [Row(originals, "original")] + [Row(model.reconstruct(originals), name) for name, model in models.items()]
display(sheet(rows))

# %% [markdown]
# ## Samples
#
# Now the encoder has a rest. Codes are drawn from the prior $\mathcal{N}(0, I)$ and decoded. The VAE and the β-VAE have
# been trained to make sense of such codes. The auto-encoder has not: nothing tied its codes to the prior. The three
# rows are made from the same ten draws; look for which model turns most of them into flowers.

# %%
display(sheet([Row(model.sample(10, seed=0), name) for name, model in models.items()]))

# %% [markdown]
# How far a model's codes are from the prior can be measured. If they follow it, each latent has mean 0 and standard
# deviation 1 over the images. For the VAEs the spread of the means and the width of the clouds make up that 1 together.
# The auto-encoder's codes have whatever scale training happened to give them.

# %%
for name, model in models.items():
    q = model.posterior(cache.images[cache.splits["val"]])
    spread = q.mean.std(0)
    cloud = q.stddev.square().mean(0).sqrt() if name != "AE" else 0 * spread
    total = (spread.square() + cloud.square()).sqrt()
    print(f"{name:8} standard deviation of a latent: from {total.min():.2f} to {total.max():.2f}")

# %% [markdown]
# ## Traversals
#
# What does a single latent mean? Take one code, change one number from −3 to 3, and decode. The latents are sorted by
# their KL, the information that they carry, and the most informative come first. If the model has disentangled
# something, a row changes one property (size, colour, brightness, position) and leaves the others alone.

# %%
from corolla.gallery.generation import interpolation, traversal
from corolla.gallery.sheets import traversal_sheet

for name in ("VAE", "beta-VAE"):
    print(name)
    display(traversal_sheet(traversal(models[name], latents=8, steps=9)))

# %% [markdown]
# ## Interpolation
#
# From one flower to another in a straight line of codes. In a continuous latent space every step on the way looks like
# a picture of its own, not like two pictures laid over each other.

# %%
ends = originals[:2]
walks = {name: interpolation(model, ends, steps=8, method="linear") for name, model in models.items()}
display(sheet([Row(walk.images, name) for name, walk in walks.items()]))

# %% [markdown]
# ## What to try next
#
# - **β.** Set `BETA` to 1, 10 or 50 and run again from the training on. Watch rate, distortion and dead latents.
# - **Known factors.** Set `SOURCE = "florets"`, `LATENTS = 10` and `STEPS = 1500`. In drawn flowers the true factors
#   (number of petals, hue, length, shape, rotation, position) are known: which of them does a traversal find?
# - **More flowers.** Train on more of the data: `"data.train_split": "train+test"` has 7,169 images. Samples gain
#   most.
# - **Longer.** 1,500 steps are an appetiser. The preset `flowers` trains for longer, and `gallery` aims at samples.
# - **Your own photos.** `SOURCE = "folder:photos"`.
# - **The command line** does all of this without a notebook: `corolla train`, `corolla sample`, `corolla traverse`,
#   `corolla interpolate`. The run folders that this notebook has left work there, too.
