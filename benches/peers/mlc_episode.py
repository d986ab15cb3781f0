"""PyTorch eager peer of an MLC episode: the published baseline in plain PyTorch.

Prototypes are pooled as the published code pools them, from features that are enlarged to the image's
size (`full`), or by the equal weighted sum of the small features (`low`), as the Rust library does it.
Usage:

    python mlc_episode.py --size 473 --shots 1 --threads 2 --repeat 5 --pooling full

Prints one JSON object: seconds (minimum and median) for `pooling` (both prototypes of one support) and
`episode`, how far the logits of both ways of pooling lie apart, and the peak resident memory in MiB.
"""

import json

import torch
import torch.nn.functional as F
from measuring import begin, measure, parser, peak_mib
from ssp_episode import Backbone, similarity


def pool_full(features, mask):
    large = F.interpolate(features, mask.shape[-2:], mode="bilinear", align_corners=True)
    mask = mask[:, None].float()
    return (large * mask).sum((2, 3)) / (mask.sum((2, 3)) + 1e-5)


def pool_low(features, mask):
    # The transpose of the resize is its gradient.
    with torch.enable_grad():
        weights = torch.zeros(mask.shape[0], 1, *features.shape[-2:], requires_grad=True)
        large = F.interpolate(weights, mask.shape[-2:], mode="bilinear", align_corners=True)
        (weights,) = torch.autograd.grad((large * mask[:, None]).sum(), weights)
    return (features * weights).sum((2, 3)) / (mask.float().sum((1, 2))[:, None] + 1e-5)


def head(supports, masks, query, size, pool):
    prototypes = []
    for label in (1, 0):
        shots = [pool(s, m == label) for s, m in zip(supports, masks)]
        prototypes.append(torch.stack(shots).mean(0)[:, :, None, None])
    return F.interpolate(similarity(query, *prototypes), size, mode="bilinear", align_corners=True)


def main():
    options = parser(__doc__)
    options.add_argument("--size", type=int, default=473)
    options.add_argument("--shots", type=int, default=1)
    options.add_argument("--pooling", choices=("full", "low"), default="full")
    args = begin(options)
    model = Backbone().eval()
    size = (args.size, args.size)
    pool = {"full": pool_full, "low": pool_low}[args.pooling]
    supports = [torch.randn(1, 3, *size) for _ in range(args.shots)]
    masks = []
    for _ in supports:
        mask = torch.zeros(1, *size, dtype=torch.long)
        mask[:, size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1
        masks.append(mask)
    query = torch.randn(1, 3, *size)

    with torch.no_grad():

        def episode():
            return head([model(s) for s in supports], masks, model(query), size, pool).argmax(1)

        features = model(supports[0])
        result = {
            "torch": torch.__version__,
            "pooling": measure(lambda: [pool(features, masks[0] == label) for label in (1, 0)], args.repeat),
            "episode": measure(episode, args.repeat),
        }
        result["peak_mib"] = peak_mib()
        both = [head([features], masks[:1], model(query), size, one) for one in (pool_full, pool_low)]
        result["difference"] = (both[0] - both[1]).abs().max().item()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
