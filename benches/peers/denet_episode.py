"""PyTorch eager peer of a DENet episode: the published architecture in plain PyTorch.

Times the backbone and whole episodes with random weights, so that the Rust library and PyTorch can be
compared on the same machine in the same minute (see benches/README.md).  Usage:

    python denet_episode.py --network resnet50 --size 321 --shots 1 --threads 2 --repeat 5

Prints one JSON object: seconds (minimum and median) for `backbone` and `episode`, and the peak resident
memory in MiB.  As published, a ResNet also runs its last stage, which nothing reads; `--skip-unused` leaves
it out.
"""

import json

import torch
import torch.nn as nn
import torch.nn.functional as F

from measuring import begin, measure, parser, peak_mib


class Bottleneck(nn.Module):
    def __init__(self, inner, width, stride=1, dilation=1, project=False):
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
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.shortcut is None else self.shortcut(x)
        return self.relu(y)


class ResNet50(nn.Module):
    def __init__(self, skip_unused):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        stages, inner = [], 64
        for stage, (count, width) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512))):
            first, later = ((1, 1), (1, 1), (1, 2), (2, 4))[stage]
            blocks = []
            for i in range(count):
                stride = 2 if stage == 1 and i == 0 else 1
                blocks.append(Bottleneck(inner, width, stride, first if i == 0 else later, i == 0))
                inner = 4 * width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.skip_unused = skip_unused

    def forward(self, x):
        x = self.stem(x)
        for stage in self.stages[:3]:
            x = stage(x)
        if not self.skip_unused:
            self.stages[3](x)
        return x


class DenseLayer(nn.Module):
    def __init__(self, inner, growth=32):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inner), nn.Conv2d(inner, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, maps):
        x = self.conv1(F.relu(self.norm1(torch.cat(maps, 1)), inplace=True))
        return self.conv2(F.relu(self.norm2(x), inplace=True))


class DenseBlock(nn.Module):
    def __init__(self, inner, count):
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(inner + 32 * i) for i in range(count))

    def forward(self, x):
        maps = [x]
        for layer in self.layers:
            maps.append(layer(maps))
        return torch.cat(maps, 1)


class DenseNet121(nn.Module):
    def __init__(self):
        super().__init__()

        def transition(inner):
            conv = nn.Conv2d(inner, inner // 2, 1, bias=False)
            return [nn.BatchNorm2d(inner), nn.ReLU(inplace=True), conv]

        self.layers = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
            DenseBlock(64, 6),
            *transition(256),
            nn.AvgPool2d(2, 2),
            DenseBlock(128, 12),
            *transition(512),
            DenseBlock(256, 24),
        )

    def forward(self, x):
        return self.layers(x)


class Aspp(nn.Module):
    def __init__(self, c=256):
        super().__init__()
        relu = lambda: nn.Sequential(nn.ReLU(), nn.Dropout2d(0.5))
        branches = [nn.Sequential(nn.Conv2d(c, c, 1), relu())]
        for rate in (6, 12, 18):
            branches.append(nn.Sequential(nn.Conv2d(c, c, 3, 1, rate, rate), relu()))
        self.branches = nn.ModuleList(branches)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, c, 1), relu())
        self.project = nn.Sequential(nn.Conv2d(5 * c, c, 1), nn.ReLU(), nn.Dropout(0.5))

    def forward(self, x):
        maps = [branch(x) for branch in self.branches]
        maps.append(F.interpolate(self.pool(x), x.shape[-2:], mode="bilinear", align_corners=False))
        return self.project(torch.cat(maps, 1))


class Denet(nn.Module):
    def __init__(self, backbone, classes, c=256):
        super().__init__()
        self.backbone = backbone
        self.embedding = nn.Sequential(nn.Conv2d(1024, c, 3, 1, 2, 2), nn.ReLU(), nn.Dropout2d(0.5))
        self.head = nn.Sequential(Aspp(c), nn.Conv2d(c, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU())
        self.rows = nn.Parameter(torch.randn(classes, c) / 16)
        self.gate = nn.Sequential(nn.Conv2d(c, c, 1), nn.ReLU(), nn.Conv2d(c, c, 1), nn.Dropout(0.5), nn.Sigmoid())
        self.linear = nn.Conv2d(c, c, 1)

    def features(self, images):
        return self.head(self.embedding(self.backbone(images)))

    def forward(self, supports, masks, query, label):
        """Supports [K, 3, H, W], masks [K, H, W], query [1, 3, H, W]."""
        support, query = self.features(supports), self.features(query)
        mask = F.interpolate(masks[:, None].float(), support.shape[-2:], mode="nearest")
        attended = self.gate((support * mask).mean((2, 3), keepdim=True)) * support
        mean = (attended * mask).sum((2, 3), keepdim=True) / (mask.sum((2, 3), keepdim=True) + 1e-3)
        rows = self.rows.clone()
        rows[label] = self.linear(mean).mean(0).flatten()
        full = torch.einsum("kc,nchw->nkhw", rows, query)
        others = torch.cat([full[:, :label], full[:, label + 1 :]], 1).max(1, keepdim=True).values
        return full, torch.cat([others, full[:, label : label + 1]], 1)


def main():
    options = parser(__doc__)
    options.add_argument("--network", choices=["resnet50", "densenet121"], default="resnet50")
    options.add_argument("--size", type=int, default=321)
    options.add_argument("--shots", type=int, default=1)
    options.add_argument("--classes", type=int, default=21)
    options.add_argument("--skip-unused", action="store_true")
    args = begin(options)
    backbone = ResNet50(args.skip_unused) if args.network == "resnet50" else DenseNet121()
    model = Denet(backbone, args.classes).eval()
    supports = torch.randn(args.shots, 3, args.size, args.size)
    query = torch.randn(1, 3, args.size, args.size)
    masks = torch.zeros(args.shots, args.size, args.size)
    quarter = args.size // 4
    masks[:, quarter : 2 * quarter, quarter : 2 * quarter] = 1

    def episode():
        _, logits = model(supports, masks, query, 3)
        return F.interpolate(logits, (args.size, args.size), mode="bilinear", align_corners=True).argmax(1)

    with torch.no_grad():
        result = {
            "backbone": measure(lambda: model.backbone(query), args.repeat),
            "episode": measure(episode, args.repeat),
        }
    result["peak_mib"] = peak_mib()
    result["torch"] = torch.__version__
    print(json.dumps(result))


if __name__ == "__main__":
    main()
