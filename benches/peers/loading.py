"""Peer of what a run waits for: torch.load of ResNet-50 weights, and training crops by Pillow and NumPy.

Reads the files that `cargo bench --bench loading` left in target/tmp/loading.  The crops are padded, cropped,
mirrored and normalised as the published transform does it, by a torch DataLoader with a process for each
thread.  Usage:

    python loading.py --threads 2 --repeat 5 [--folder target/tmp/loading]

Prints one JSON object: seconds (minimum and median) of `pth` (load and load_state_dict) and of `crops` (64).
"""

import json
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset

from measuring import begin, measure, parser


ROOT = Path(__file__).resolve().parents[2]
CROP = 473


class Crops(Dataset):
    def __init__(self, root):
        self.root = root
        self.ids = (root / "ImageSets" / "train.txt").read_text().split()
        self.mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        self.std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        image = Image.open(self.root / "JPEGImages" / f"{self.ids[index]}.jpg").convert("RGB")
        mask = Image.open(self.root / "SegmentationClass" / f"{self.ids[index]}.png")
        width, height = image.size
        border = (0, 0, max(CROP - width, 0), max(CROP - height, 0))
        image, mask = ImageOps.expand(image, border, 0), ImageOps.expand(mask, border, 255)
        x, y = max(width - CROP, 0) // 2, max(height - CROP, 0) // 2
        box = (x, y, x + CROP, y + CROP)
        image, mask = image.crop(box), mask.crop(box)
        if index % 2:
            image, mask = ImageOps.mirror(image), ImageOps.mirror(mask)
        # What torchvision's ToTensor and Normalize do.
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return pixels.sub_(self.mean).div_(self.std), torch.from_numpy(np.array(mask)).long()


def main():
    options = parser(__doc__)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    options.add_argument("--folder", type=Path, default=target / "tmp" / "loading")
    args = begin(options)
    file = args.folder / "resnet50.pth"
    state = torch.load(file, weights_only=True)
    holders = torch.nn.ParameterDict({key.replace(".", "|"): torch.empty_like(v) for key, v in state.items()})

    def load():
        found = torch.load(file, weights_only=True)
        holders.load_state_dict({key.replace(".", "|"): value for key, value in found.items()})

    loader = DataLoader(Crops(args.folder / "voc"), batch_size=1, num_workers=args.threads, prefetch_factor=4, persistent_workers=True)
    result = {
        "torch": torch.__version__,
        "pth": measure(load, args.repeat),
        "crops": measure(lambda: [None for _ in loader], args.repeat),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
