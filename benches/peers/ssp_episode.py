"""PyTorch eager peer of an SSP episode: the published architecture in plain PyTorch.

Times the backbone and whole episodes with random weights, so that the Rust library and PyTorch can be
compared on the same machine in the same minute (see benches/README.md).  Usage:

    python ssp_episode.py --size 473 --shots 1 --threads 2 --repeat 5 [--refine] [--unused-foreground]

Prints one JSON object: seconds (minimum and median) for `backbone`, `self_support` and `episode`, and the
peak resident memory in MiB.
"""

import json

import torch
import torch.nn as nn
import torch.nn.functional as F

from measuring import begin, measure, parser, peak_mib


class Bottleneck(nn.Module):
    def __init__(self, inner, width, stride=1, dilation=1, project=False, last_relu=True):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.shortcut = None
        if project:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inner, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )
        self.last_relu = last_relu
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.shortcut is None else self.shortcut(x)
        return self.relu(y) if self.last_relu else y


class Backbone(nn.Module):
    """Deep-stem ResNet-50 without its last stage, output stride 8."""

    def __init__(self, blocks=(3, 4, 6)):
        super().__init__()
        stem, inner = [], 3
        for out, stride in ((64, 2), (64, 1), (128, 1)):
            stem += [nn.Conv2d(inner, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
            inner = out
        self.stem = nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1))
        stages = []
        for stage, (count, width) in enumerate(zip(blocks, (64, 128, 256))):
            for i in range(count):
                stages.append(
                    Bottleneck(
                        inner,
                        width,
                        stride=2 if stage == 1 and i == 0 else 1,
                        dilation=2 if stage == 2 and i > 0 else 1,
                        project=i == 0,
                        last_relu=not (stage == 2 and i == count - 1),
                    )
                )
                inner = 4 * width
        self.stages = nn.Sequential(*stages)

    def forward(self, x):
        return self.stages(self.stem(x))


def pool(features, mask):
    mask = F.interpolate(mask[:, None].float(), features.shape[-2:], mode="bilinear", align_corners=True)
    return (features * mask).sum((2, 3)) / (mask.sum((2, 3)) + 1e-5)


def similarity(query, fg, bg):
    return 10.0 * torch.stack([F.cosine_similarity(query, bg, dim=1), F.cosine_similarity(query, fg, dim=1)], 1)


def self_support(query, logits, unused_foreground=False):
    prob = logits.softmax(1).flatten(2)
    fg_global, bg_global, bg_adaptive = [], [], []
    for q, (p_bg, p_fg) in zip(query.flatten(2), prob):
        def pick(p, threshold):
            chosen = p > threshold
            return q[:, chosen] if chosen.any() else q[:, p.topk(12).indices]

        fg, bg = pick(p_fg, 0.7), pick(p_bg, 0.6)
        fg_global.append(fg.mean(1))
        bg_global.append(bg.mean(1))
        unit = q / q.norm(dim=0, keepdim=True)
        for chosen in (fg, bg) if unused_foreground else (bg,):
            weight = (2.0 * unit.t() @ (chosen / chosen.norm(dim=0, keepdim=True))).softmax(1)
            adaptive = (weight @ chosen.t()).t()
        bg_adaptive.append(adaptive.view(query.shape[1:]))
    spread = lambda v: torch.stack(v)[:, :, None, None]
    return spread(fg_global), spread(bg_global), torch.stack(bg_adaptive)


def head(supports, masks, query, size, refine, unused):
    fp = torch.stack([pool(s, m == 1) for s, m in zip(supports, masks)]).mean(0)[:, :, None, None]
    bp = torch.stack([pool(s, m == 0) for s, m in zip(supports, masks)]).mean(0)[:, :, None, None]
    fg, bg, adaptive = self_support(query, similarity(query, fp, bp), unused)
    fp1, bp1 = 0.5 * fp + 0.5 * fg, 0.3 * bg + 0.7 * adaptive
    out = similarity(query, fp1, bp1)
    if refine:
        fg, bg, adaptive = self_support(query, out, unused)
        fp2 = 0.5 * fp + 0.2 * fp1 + 0.3 * (0.5 * fp + 0.5 * fg)
        bp2 = 0.5 * bp + 0.2 * bp1 + 0.3 * (0.3 * bg + 0.7 * adaptive)
        out = 0.7 * similarity(query, fp2, bp2) + 0.3 * out
    return F.interpolate(out, size, mode="bilinear", align_corners=True)


def main():
    options = parser(__doc__)
    options.add_argument("--size", type=int, default=473)
    options.add_argument("--shots", type=int, default=1)
    options.add_argument("--refine", action="store_true")
    options.add_argument("--unused-foreground", action="store_true", help="compute the unused foreground prototype too")
    args = begin(options)
    model = Backbone().eval()
    size = (args.size, args.size)
    supports = [torch.randn(1, 3, *size) for _ in range(args.shots)]
    masks = []
    for _ in supports:
        mask = torch.zeros(1, *size, dtype=torch.long)
        mask[:, size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1
        masks.append(mask)
    query = torch.randn(1, 3, *size)

    with torch.inference_mode():
        features = model(query)
        # The left half is sure background, the right half sure foreground, as in benches/kernels.rs.
        left = (torch.arange(features.shape[3]) < features.shape[3] // 2).float() * 8 - 4
        logits = torch.stack([left, -left])[None, :, None, :].expand(1, 2, *features.shape[2:])

        def episode():
            return head([model(s) for s in supports], masks, model(query), size, args.refine, args.unused_foreground).argmax(1)

        result = {
            "torch": torch.__version__,
            "backbone": measure(lambda: model(query), args.repeat),
            "self_support": measure(lambda: self_support(features, logits, args.unused_foreground), args.repeat),
            "episode": measure(episode, args.repeat),
        }
    result["peak_mib"] = peak_mib()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
