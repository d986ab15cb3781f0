"""PyTorch eager peer of POP: dilated ResNet-50, PSP decoder, and the head in its published form.

Times the decoder, the head and whole images with random weights, so that the Rust library and PyTorch can be
compared on the same machine in the same minute (see benches/README.md).  Usage:

    python pop_image.py --size 473 --base 15 --novel 5 --threads 2 --repeat 5 [--head-alone]

Prints one JSON object: seconds (minimum and median) for `decoder`, `head`, `step` (forward and backward of the
head on two images) and `image`; by how much the head raised the peak resident memory, in MiB (`head_mib`), and
that peak (`peak_mib`).
"""

import json

import torch
import torch.nn as nn
import torch.nn.functional as F
from measuring import begin, measure, parser, peak_mib
from ssp_episode import Bottleneck


class Backbone(nn.Module):
    """Deep-stem ResNet-50 with all four stages, output stride 8."""

    def __init__(self):
        super().__init__()
        stem, inner = [], 3
        for out, stride in ((64, 2), (64, 1), (128, 1)):
            stem += [nn.Conv2d(inner, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
            inner = out
        self.stem = nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1))
        stages = []
        for stage, (count, width) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512))):
            for i in range(count):
                stride = 2 if stage == 1 and i == 0 else 1
                stages.append(Bottleneck(inner, width, stride, (1, 1, 2, 4)[stage], i == 0))
                inner = 4 * width
        self.stages = nn.Sequential(*stages)

    def forward(self, x):
        return self.stages(self.stem(x))


def unit(c_in, c_out, kernel):
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()
    )


class Decoder(nn.Module):
    def __init__(self, features=2048, out=512, sides=(1, 2, 3, 6)):
        super().__init__()
        self.sides = sides
        self.stages = nn.ModuleList(unit(features, out, 1) for _ in sides)
        self.bottleneck = unit(features + len(sides) * out, out, 3)
        self.last = nn.Conv2d(out, out, 1)

    def forward(self, x):
        size = x.shape[-2:]
        maps = [
            F.interpolate(stage(F.adaptive_avg_pool2d(x, side)), size, mode="bilinear", align_corners=False)
            for side, stage in zip(self.sides, self.stages)
        ]
        return self.last(self.bottleneck(torch.cat([*maps, x], 1)))


def classifier(c):
    layers = [nn.Conv2d(c, c, 1, bias=False), nn.ReLU(), nn.Conv2d(c, c, 1, bias=False), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(c, 1, 1, bias=False))


class Head(nn.Module):
    """One map a class, each classified by itself."""

    def __init__(self, base, novel, c=512):
        super().__init__()
        self.base = nn.Parameter(torch.randn(base, c), requires_grad=False)
        self.novel = nn.Parameter(torch.randn(novel, c))
        self.classifier, self.classifier_n = classifier(c).requires_grad_(False), classifier(c)

    def forward(self, features):
        b, c, h, w = features.shape
        flat = features.flatten(2)

        def along(prototypes):
            units = F.normalize(prototypes, dim=1)
            return torch.matmul(units, flat).unsqueeze(2) * units[None, :, :, None]

        base, novel = along(self.base), along(self.novel)
        rest = flat.unsqueeze(1) - base.sum(1, keepdim=True) - novel.sum(1, keepdim=True)

        def scored(net, maps):
            return net(maps.reshape(-1, c, h, w)).view(b, -1, h, w)

        parts = [scored(self.classifier_n, rest), scored(self.classifier, base), scored(self.classifier_n, novel)]
        return torch.cat(parts, 1)

    def similarity(self):
        units = F.normalize(torch.cat([self.novel, self.base]), dim=1)
        return torch.matmul(F.normalize(self.novel, dim=1), units.t())


def rectangle(side, label):
    """A quarter of the map, as in benches/inputs/mod.rs."""
    labels = torch.zeros(1, side, side, dtype=torch.long)
    labels[:, side // 4 : side // 4 + side // 2, side // 4 : side // 4 + side // 2] = label
    return labels


def step(head, features, novel, base, size, kb):
    logits = head(features)
    with torch.no_grad():
        maps = torch.cat([logits[1:, :1], logits[1:, 1 + kb :]], 1)
        best = F.interpolate(maps, (size, size), mode="bilinear", align_corners=True).argmax(1)
        pseudo = torch.where(best > 0, best + kb, best)
        base = torch.where(base == 0, pseudo, base)
    logits = F.interpolate(logits, (size, size), mode="bilinear", align_corners=True)
    loss = F.cross_entropy(logits, torch.cat([novel, base]), ignore_index=255)
    loss = loss + 10 * torch.triu(head.similarity().abs(), 1).mean()
    head.zero_grad(set_to_none=True)
    loss.backward()


def main():
    options = parser(__doc__)
    options.add_argument("--size", type=int, default=473)
    options.add_argument("--base", type=int, default=15)
    options.add_argument("--novel", type=int, default=5)
    options.add_argument("--head-alone", action="store_true", help="measure the head and its memory only")
    args = begin(options)
    grid = (args.size - 1) // 8 + 1
    head = Head(args.base, args.novel).eval()
    features = torch.randn(1, 512, grid, grid)
    result = {"torch": torch.__version__}
    with torch.inference_mode():
        before = peak_mib()
        head(features)
        result["head_mib"] = peak_mib() - before
        result["head"] = measure(lambda: head(features), args.repeat)
        if not args.head_alone:
            backbone, decoder = Backbone().eval(), Decoder().eval()
            image, deep = torch.randn(1, 3, args.size, args.size), torch.randn(1, 2048, grid, grid)
            size = (args.size, args.size)

            def whole():
                logits = head(decoder(backbone(image)))
                return F.interpolate(logits, size, mode="bilinear", align_corners=True).argmax(1)

            result["decoder"] = measure(lambda: decoder(deep), args.repeat)
            result["image"] = measure(whole, args.repeat)
            result["peak_mib"] = peak_mib()
    if not args.head_alone:
        pair = torch.randn(2, 512, grid, grid)
        novel, base = rectangle(args.size, args.base + 1), rectangle(args.size, 3)
        result["step"] = measure(lambda: step(head, pair, novel, base, args.size, args.base), args.repeat)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
