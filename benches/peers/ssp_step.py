"""PyTorch eager peer of a training step of SSP: the published recipe in plain PyTorch.

Batches of episodes with one support, stem and first stage frozen, all batch norms frozen and in eval mode,
refined, the published four losses, SGD.  Usage:

    python ssp_step.py --size 473 --batch 4 --threads 2 --repeat 3

Prints one JSON object: seconds (minimum and median) of `step`, and the peak resident memory in MiB.
"""

import json

import torch
import torch.nn as nn
import torch.nn.functional as F

from measuring import begin, measure, parser, peak_mib
from ssp_episode import Backbone, pool, self_support, similarity


def prototypes(features, mask):
    return [pool(features, mask == label)[:, :, None, None] for label in (1, 0)]


def losses(model, query, query_mask, support, support_mask):
    """Cross entropy of both predictions, of the query with itself, and a fifth of the supports'."""
    features = model(torch.cat([query, support]))
    q, s = features.chunk(2)
    size = query.shape[-2:]
    resize = lambda logits: F.interpolate(logits, size, mode="bilinear", align_corners=True)
    fp, bp = prototypes(s, support_mask)
    fg, bg, adaptive = self_support(q, similarity(q, fp, bp))
    fp1, bp1 = 0.5 * fp + 0.5 * fg, 0.3 * bg + 0.7 * adaptive
    first = similarity(q, fp1, bp1)
    fg, bg, adaptive = self_support(q, first)
    fp2 = 0.5 * fp + 0.2 * fp1 + 0.3 * (0.5 * fp + 0.5 * fg)
    bp2 = 0.5 * bp + 0.2 * bp1 + 0.3 * (0.3 * bg + 0.7 * adaptive)
    refined = 0.7 * similarity(q, fp2, bp2) + 0.3 * first
    own = similarity(q, *prototypes(q, query_mask))
    supports = similarity(s, fp, bp)
    entropy = lambda logits, mask: F.cross_entropy(resize(logits), mask, ignore_index=255)
    return (
        entropy(refined, query_mask)
        + entropy(first, query_mask)
        + entropy(own, query_mask)
        + 0.2 * entropy(supports, support_mask)
    )


def main():
    options = parser(__doc__, repeat=3)
    options.add_argument("--size", type=int, default=473)
    options.add_argument("--batch", type=int, default=4)
    args = begin(options)
    model = Backbone().eval()
    for part in (model.stem, model.stages[:3]):
        part.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], lr=1e-12, momentum=0.9, weight_decay=5e-4
    )
    size = (args.size, args.size)
    images = [torch.randn(args.batch, 3, *size) for _ in range(2)]
    mask = torch.zeros(args.batch, *size, dtype=torch.long)
    mask[:, size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1

    def step():
        optimizer.zero_grad()
        losses(model, images[0], mask, images[1], mask).backward()
        optimizer.step()

    result = {"torch": torch.__version__, "step": measure(step, args.repeat)}
    result["peak_mib"] = peak_mib()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
