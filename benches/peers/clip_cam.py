"""PyTorch eager peer of CLIP RN50's image encoder and of a Grad-CAM on it, in plain PyTorch.

Random weights.  Text features of the prompts are made once, as a careful implementation does; what is timed is
the image encoder alone, and a whole map: encoder, similarity, gradient, weighted sum.  Usage:

    python clip_cam.py --prompts 20 --classes 1 --threads 2 --repeat 5 [--graph whole]

`--graph tail` (default) keeps the graph from the last map on only; `whole` from the image on.  Prints one JSON
object: seconds (minimum and median) for `text`, `image`, `cam`, and the peak resident memory in MiB.
"""

import json

import torch
import torch.nn as nn
import torch.nn.functional as F

from measuring import begin, measure, parser, peak_mib


class Bottleneck(nn.Module):
    def __init__(self, inner, planes, stride):
        super().__init__()
        outer = 4 * planes
        self.conv1, self.bn1 = nn.Conv2d(inner, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, outer, 1, bias=False), nn.BatchNorm2d(outer)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.downsample = None
        if stride > 1 or inner != outer:
            self.downsample = nn.Sequential(nn.Conv2d(inner, outer, 1, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.pool(F.relu(self.bn2(self.conv2(y))))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(self.pool(x))))


class AttentionPool(nn.Module):
    def __init__(self, side, channels, heads, out):
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.randn(side * side + 1, channels) / channels**0.5)
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(channels, channels) for _ in range(3))
        self.c_proj = nn.Linear(channels, out)

    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([x.mean(1, keepdim=True), x], 1) + self.positional_embedding
        split = lambda y: y.unflatten(2, (self.heads, -1)).transpose(1, 2)
        y = F.scaled_dot_product_attention(split(self.q_proj(x[:, :1])), split(self.k_proj(x)), split(self.v_proj(x)))
        return self.c_proj(y.transpose(1, 2).flatten(2)).squeeze(1)


class Visual(nn.Module):
    def __init__(self, width=64, layers=(3, 4, 6, 3), side=7, out=1024):
        super().__init__()
        half = width // 2
        self.conv1, self.bn1 = nn.Conv2d(3, half, 3, 2, 1, bias=False), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = nn.Conv2d(half, half, 3, 1, 1, bias=False), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = nn.Conv2d(half, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        inner = width
        for stage, count in enumerate(layers):
            blocks = []
            for i in range(count):
                blocks.append(Bottleneck(inner, width << stage, 2 if stage and i == 0 else 1))
                inner = 4 * width << stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.attnpool = AttentionPool(side, inner, inner // 64, out)

    def trunk(self, x):
        for i in (1, 2, 3):
            x = F.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        x = F.avg_pool2d(x, 2)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x):
        return self.attnpool(self.trunk(x))


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class TextBlock(nn.Module):
    def __init__(self, width, context):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // 64, batch_first=True)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", QuickGELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))
        self.mask = torch.full((context, context), float("-inf")).triu(1)

    def forward(self, x):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=self.mask.to(y.dtype))[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width, blocks, context):
        super().__init__()
        self.resblocks = nn.Sequential(*[TextBlock(width, context) for _ in range(blocks)])

    def forward(self, x):
        return self.resblocks(x)


class Clip(nn.Module):
    def __init__(self, visual=None, width=512, blocks=12, context=77, vocabulary=49408, out=1024):
        super().__init__()
        self.visual = visual or Visual(out=out)
        self.transformer = Transformer(width, blocks, context)
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(context, width))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, out) / width**0.5)
        self.logit_scale = nn.Parameter(torch.tensor(4.6052))

    def encode_text(self, tokens):
        x = self.transformer(self.token_embedding(tokens) + self.positional_embedding)
        x = self.ln_final(x)[torch.arange(len(x)), tokens.argmax(1)]
        return x @ self.text_projection

    def forward(self, image, tokens):
        image, text = (F.normalize(x, dim=1) for x in (self.visual(image), self.encode_text(tokens)))
        return self.logit_scale.exp() * image @ text.t()


def cam(visual, image, text, classes, graph):
    with torch.set_grad_enabled(graph == "whole"):
        activations = visual.trunk(image)
    if graph == "tail":
        activations.requires_grad_()
    features = F.normalize(visual.attnpool(activations), dim=1)
    probabilities = (100.0 * features @ text.t()).softmax(1)
    maps = []
    for c in classes:
        (gradient,) = torch.autograd.grad(probabilities[:, c].sum(), activations, retain_graph=True)
        maps.append((gradient.mean((2, 3), keepdim=True) * activations.detach()).sum(1))
    return torch.stack(maps)


def main():
    options = parser(__doc__)
    options.add_argument("--prompts", type=int, default=20)
    options.add_argument("--classes", type=int, default=1, help="maps per image")
    options.add_argument("--graph", choices=("tail", "whole"), default="tail")
    args = begin(options)
    model = Clip().eval()
    image = torch.randn(1, 3, 224, 224)
    tokens = torch.zeros(args.prompts, 77, dtype=torch.long)
    tokens[:, :8] = torch.randint(1, 49405, (args.prompts, 8))
    tokens[:, 7] = 49407
    with torch.no_grad():
        text = F.normalize(model.encode_text(tokens), dim=1)
        result = {
            "torch": torch.__version__,
            "text": measure(lambda: model.encode_text(tokens), min(args.repeat, 3)),
            "image": measure(lambda: model.visual(image), args.repeat),
        }
    classes = range(args.classes)
    result["cam"] = measure(lambda: cam(model.visual, image, text, classes, args.graph), args.repeat)
    result["peak_mib"] = peak_mib()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
