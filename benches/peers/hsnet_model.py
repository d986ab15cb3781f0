"""HSNet and IMR-HSNet in plain PyTorch: the published architectures, under the official parameter names.

For inference alone.  `Hsnet` and `Imr` are what `hsnet_episode.py` times.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

# Blocks of layer1 to layer4.
BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
# Taps of the shallow, middle and deep level.
LEVELS = {"vgg16": (3, 3, 1), "resnet50": (4, 6, 3), "resnet101": (4, 23, 3)}


def resize(x, size):
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


class Bottleneck(nn.Module):
    def __init__(self, inner, width, stride, project):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = None
        if project:
            self.downsample = nn.Sequential(
                nn.Conv2d(inner, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x):
        """Without the last ReLU."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return y


class ResNet(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        inner = 64
        for stage, count in enumerate(blocks):
            width = 64 << stage
            layer = []
            for i in range(count):
                stride = 2 if stage > 0 and i == 0 else 1
                layer.append(Bottleneck(inner, width, stride, project=i == 0))
                inner = 4 * width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x)), inplace=True), 3, 2, 1)
        for block in self.layer1:
            x = F.relu(block(x), inplace=True)
        taps = []
        for block in (*self.layer2, *self.layer3, *self.layer4):
            taps.append(block(x))
            x = F.relu(taps[-1])
        return taps


class Vgg16(nn.Module):
    def __init__(self):
        super().__init__()
        layers, inner = [], 3
        for count, width in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
            for _ in range(count):
                layers += [nn.Conv2d(inner, width, 3, padding=1), nn.ReLU()]
                inner = width
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)

    def forward(self, x):
        taps = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in (17, 19, 21, 24, 26, 28, 30):
                taps.append(x)
        return taps


def backbone(name):
    return Vgg16() if name == "vgg16" else ResNet(BLOCKS[name])


def masked(taps, mask):
    """Taps times a map `[B, 1, H, W]`, which is resized once for each size."""
    sizes = {tap.shape[2:] for tap in taps}
    masks = {size: resize(mask, size) for size in sizes}
    return [tap * masks[tap.shape[2:]] for tap in taps]


def pyramid(taps, counts):
    """Unit features `[B, L, C, N]` and their size: shallow, middle, deep."""
    levels = []
    for count in counts:
        level, taps = torch.stack(taps[:count], 1), taps[count:]
        level /= level.norm(dim=2, keepdim=True) + 1e-5
        levels.append((level.flatten(3), level.shape[3:]))
    return levels


def correlate(query, support):
    """Correlations `[B, L, h, w, hs, ws]`, deep to shallow: one batched product for each level."""
    result = []
    for (q, size), (s, other) in zip(reversed(query), reversed(support)):
        maps = torch.matmul(q.transpose(2, 3), s).relu_()
        result.append(maps.view(*maps.shape[:2], *size, *other))
    return result


class PivotConv(nn.Module):
    """Center-pivot 4D convolution of `[B, C, h, w, hs, ws]`."""

    def __init__(self, inner, outer, kernel, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, kernel, 1, kernel // 2)
        self.conv2 = nn.Conv2d(inner, outer, kernel, stride, kernel // 2)
        self.stride = stride

    def forward(self, x):
        b, c, h, w, hs, ws = x.shape
        kept = x[..., :: self.stride, :: self.stride]
        rows, columns = kept.shape[4:]
        one = self.conv1(kept.permute(0, 4, 5, 1, 2, 3).reshape(-1, c, h, w))
        one = one.view(b, rows, columns, -1, h, w).permute(0, 3, 4, 5, 1, 2)
        two = self.conv2(x.permute(0, 2, 3, 1, 4, 5).reshape(-1, c, hs, ws))
        two = two.view(b, h, w, -1, rows, columns).permute(0, 3, 1, 2, 4, 5)
        return one + two


def block(inner, widths, kernels, strides):
    layers = []
    for outer, kernel, stride in zip(widths, kernels, strides):
        layers += [PivotConv(inner, outer, kernel, stride), nn.GroupNorm(4, outer), nn.ReLU(inplace=True)]
        inner = outer
    return nn.Sequential(*layers)


def at_query_size(x, size):
    b, c, h, w, hs, ws = x.shape
    x = resize(x.permute(0, 4, 5, 1, 2, 3).reshape(-1, c, h, w), size)
    return x.view(b, hs, ws, c, *size).permute(0, 3, 4, 5, 1, 2)


class Squeeze(nn.Module):
    def __init__(self, counts):
        super().__init__()
        shallow, middle, deep = counts
        widths = (16, 64, 128)
        self.encoder_layer4 = block(deep, widths, (3, 3, 3), (2, 2, 2))
        self.encoder_layer3 = block(middle, widths, (5, 3, 3), (4, 2, 2))
        self.encoder_layer2 = block(shallow, widths, (5, 5, 3), (4, 4, 2))
        self.encoder_layer4to3 = block(128, (128, 128, 128), (3, 3, 3), (1, 1, 1))
        self.encoder_layer3to2 = block(128, (128, 128, 128), (3, 3, 3), (1, 1, 1))

    def encode(self, correlations):
        deep, middle, shallow = correlations
        deep = self.encoder_layer4(deep)
        middle = self.encoder_layer3(middle)
        shallow = self.encoder_layer2(shallow)
        mixed = self.encoder_layer4to3(at_query_size(deep, middle.shape[2:4]) + middle)
        mixed = self.encoder_layer3to2(at_query_size(mixed, shallow.shape[2:4]) + shallow)
        return mixed.mean((4, 5))


def add_decoder(module):
    relu = lambda: nn.ReLU(inplace=True)
    conv = lambda inner, outer: nn.Conv2d(inner, outer, 3, padding=1)
    module.decoder1 = nn.Sequential(conv(128, 128), relu(), conv(128, 64), relu())
    module.decoder2 = nn.Sequential(conv(64, 64), relu(), conv(64, 2))


def decode(module, encoded):
    x = module.decoder1(encoded)
    side = 2 * x.shape[3]
    return module.decoder2(resize(x, (side, side)))


def vote(logits):
    """Masks `[B, H, W]` from the logits of each shot."""
    votes = torch.stack([one.argmax(1) for one in logits]).sum(0)
    if len(logits) == 1:
        return votes
    most = votes.amax((1, 2), keepdim=True).clamp_min(1)
    return (votes / most >= 0.5).long()


class Hsnet(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.counts = LEVELS[name]
        self.backbone = backbone(name)
        self.hpn_learner = Squeeze(self.counts)
        add_decoder(self.hpn_learner)

    def head(self, correlations):
        return decode(self.hpn_learner, self.hpn_learner.encode(correlations))

    def shot(self, support, mask):
        return pyramid(masked(self.backbone(support), mask), self.counts)

    def episode(self, query, supports, masks):
        """The query's mask; `masks` are floats `[B, 1, H, W]`."""
        own = pyramid(self.backbone(query), self.counts)
        logits = []
        for support, mask in zip(supports, masks):
            one = self.head(correlate(own, self.shot(support, mask)))
            logits.append(resize(one, query.shape[2:]))
        return vote(logits)


class Imr(nn.Module):
    def __init__(self, name, stages, grid=50):
        super().__init__()
        self.counts, self.stages, self.grid = LEVELS[name], stages, grid
        self.backbone = backbone(name)
        self.hpn_learner = Squeeze(self.counts)
        if name != "vgg16":
            self.conv1024_512 = nn.Conv2d(1024, 512, 1)
        self.state = nn.Parameter(torch.zeros(1, 128, grid, grid))
        for gate in "zrh":
            setattr(self, f"conv{gate}0", nn.Conv2d(769, 512, 1))
            for half in "12":
                setattr(self, f"conv{gate}{half}", nn.Conv2d(256, 64, 3, padding=1, groups=8))
        add_decoder(self)
        self.res = nn.Sequential(nn.Conv2d(3, 10, 1), nn.GELU(), nn.Conv2d(10, 2, 1))

    def middle(self, taps):
        shallow, middle, _ = self.counts
        total = resize(sum(taps[shallow : shallow + middle]), (self.grid, self.grid))
        return self.conv1024_512(total) if hasattr(self, "conv1024_512") else total

    def gate(self, name, x):
        left, right = getattr(self, f"conv{name}0")(x).chunk(2, 1)
        return torch.cat([getattr(self, f"conv{name}1")(left), getattr(self, f"conv{name}2")(right)], 1)

    def stage(self, correlations, cam, middle, state):
        """Logits and state."""
        encoded = self.hpn_learner.encode(correlations)
        x = torch.cat([cam, encoded, middle, state], 1)
        update, reset = self.gate("z", x).sigmoid(), self.gate("r", x).sigmoid()
        x = torch.cat([cam, encoded, middle, reset * state], 1)
        state = torch.lerp(state, self.gate("h", x).tanh(), update)
        logits = decode(self, state + encoded)
        return self.res(torch.cat([logits, resize(cam, logits.shape[2:])], 1)), state

    def refine(self, query, support, query_cam, support_cam):
        """The query's logits of each stage; taps and maps `[B, 1, G, G]` go in."""
        middles = self.middle(query), self.middle(support)
        query, support = masked(query, support_cam), masked(support, query_cam)
        cams, states = (query_cam, support_cam), (self.state, self.state)
        states = [state.expand(len(query_cam), -1, -1, -1) for state in states]
        result = []
        for stage in range(self.stages):
            forth = correlate(pyramid(query, self.counts), pyramid(support, self.counts))
            last = stage + 1 == self.stages
            # The support's correlations are the query's, seen from the other side.
            sides = [forth] if last else [forth, [maps.permute(0, 1, 4, 5, 2, 3) for maps in forth]]
            seen = [self.stage(*side) for side in zip(sides, cams, middles, states)]
            result.append(seen[0][0])
            if last:
                return result
            maps = [logits.softmax(1)[:, 1:] for logits, _ in seen]
            query, support = masked(query, maps[0]), masked(support, maps[1])
            cams = [resize(one, (self.grid, self.grid)) for one in maps]
            states = [state for _, state in seen]

    def episode(self, query, supports, query_cam, support_cams):
        own = self.backbone(query)
        logits = []
        for support, cam in zip(supports, support_cams):
            one = self.refine(own, self.backbone(support), query_cam, cam)[-1]
            logits.append(resize(one, query.shape[2:]))
        return vote(logits)
