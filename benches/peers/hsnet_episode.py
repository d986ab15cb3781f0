"""PyTorch eager peer of an HSNet or IMR-HSNet episode.

Times the backbone and whole episodes with random weights, so that the Rust library and PyTorch can be
compared on the same machine in the same minute (see benches/README.md).  Usage:

    python hsnet_episode.py --size 400 --shots 1 --threads 2 --repeat 5 --backbone resnet50 --mask-share 0.25
    python hsnet_episode.py --model imr --stages 2

Prints one JSON object: seconds (minimum and median) for `backbone` (one image), `correlation` and `head` (of one
shot, HSNet alone) and `episode`, and the peak resident memory in MiB.
"""

import json

import torch
from hsnet_model import LEVELS, Hsnet, Imr, correlate, pyramid
from measuring import begin, measure, parser, peak_mib


def rectangle(side, share):
    """An object that covers a share of a map `[1, 1, side, side]`, as in benches/inputs/mod.rs."""
    length = round(side * share**0.5)
    first = min(side // 4, side - length)
    mask = torch.zeros(1, 1, side, side)
    mask[..., first : first + length, first : first + length] = 1
    return mask


def main():
    options = parser(__doc__)
    options.add_argument("--model", choices=("hsnet", "imr"), default="hsnet")
    options.add_argument("--size", type=int, default=400)
    options.add_argument("--shots", type=int, default=1)
    options.add_argument("--backbone", choices=tuple(LEVELS), default="resnet50")
    options.add_argument("--mask-share", type=float, default=0.25, help="share of a support's area that is object")
    options.add_argument("--stages", type=int, default=2, help="stages of IMR")
    args = begin(options)
    imr = args.model == "imr"
    grid = args.size // 8
    model = (Imr(args.backbone, args.stages, grid) if imr else Hsnet(args.backbone)).eval()
    query, *supports = (torch.randn(1, 3, args.size, args.size) for _ in range(args.shots + 1))
    masks = [rectangle(args.size, args.mask_share)] * args.shots

    with torch.inference_mode():
        result = {"torch": torch.__version__, "backbone": measure(lambda: model.backbone(query), args.repeat)}
        if imr:
            # Coarse maps that are zero outside the object; see the masking of the first stage.
            cams = [rectangle(grid, args.mask_share)] * args.shots
            episode = lambda: model.episode(query, supports, torch.rand(1, 1, grid, grid), cams)
        else:
            episode = lambda: model.episode(query, supports, masks)
        result["episode"] = measure(episode, args.repeat)
        result["peak_mib"] = peak_mib()
        if not imr:
            own, shot = pyramid(model.backbone(query), model.counts), model.shot(supports[0], masks[0])
            result["correlation"] = measure(lambda: correlate(own, shot), args.repeat)
            maps = correlate(own, shot)
            result["head"] = measure(lambda: model.head([one.clone() for one in maps]), args.repeat)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
