"""PyTorch eager peer of benches/kernels.rs: the matching kernels at the sizes of a 473x473 image.

    python kernels.py --threads 2 --repeat 9 [--device cuda] [--dtype float16]

Prints one JSON object: seconds (minimum and median) for each kernel.
"""

import json

import torch
import torch.nn.functional as F

from measuring import begin, measure, parser

CHANNELS, SIDE, IMAGE = 1024, 60, 473


def pool(features, mask):
    """The mask at the features' size, as in the published SSP."""
    mask = F.interpolate(mask, features.shape[-2:], mode="bilinear", align_corners=True)
    return (features * mask).sum((2, 3)) / (mask.sum((2, 3)) + 1e-5)


def pool_at_mask_size(features, mask):
    """The features at the mask's size, as in the published MLC."""
    features = F.interpolate(features, mask.shape[-2:], mode="bilinear", align_corners=True)
    return (features * mask).sum((2, 3)) / (mask.sum((2, 3)) + 1e-5)


def maps(features, prototypes):
    """A cosine map for each prototype, as the published heads make them."""
    each = [F.cosine_similarity(features, p[:, :, None, None], dim=1) for p in prototypes.unbind(1)]
    return torch.stack(each, 1)


def main():
    options = parser(__doc__, repeat=9)
    options.add_argument("--dtype", default="float32")
    args = begin(options)
    dtype = getattr(torch, args.dtype)

    def rand(*shape):
        return torch.rand(*shape, dtype=dtype) * 2 - 1

    x, other, scores = rand(1, CHANNELS, SIDE, SIDE), rand(1, CHANNELS, SIDE, SIDE), rand(1, 2, SIDE, SIDE)
    mask = torch.zeros(1, 1, IMAGE, IMAGE, dtype=dtype)
    mask[..., IMAGE // 4 : IMAGE // 2, IMAGE // 4 : IMAGE // 2] = 1
    size = (IMAGE, IMAGE)

    def resized(corners):
        return F.interpolate(scores, size, mode="bilinear", align_corners=corners)

    work = {
        "masked_average_pool": lambda: pool(x, mask),
        "masked_average_pool_at_mask_size": lambda: pool_at_mask_size(x, mask),
        "cosine_map_dense": lambda: F.cosine_similarity(x, other, dim=1),
        "resize_bilinear/aligned": lambda: resized(True),
        "resize_bilinear/half_pixel": lambda: resized(False),
        "resize_nearest": lambda: F.interpolate(scores, size, mode="nearest"),
        "resize and argmax": lambda: resized(True).argmax(1),
    }
    for ways in (2, 6, 21):
        prototypes = rand(1, ways, CHANNELS)
        work[f"cosine_maps/{ways}"] = lambda prototypes=prototypes: maps(x, prototypes)
    with torch.inference_mode():
        found = {name: measure(run, args.repeat) for name, run in work.items()}
    print(json.dumps({"torch": torch.__version__, **found}))


if __name__ == "__main__":
    main()
