"""PyTorch eager peer of examples/five_seeds.rs: official episodes one by one, as the published code runs them.

Reads the images, weights and episodes that the example left in its folder, and checks that the IoU of each episode
is the same.  The whole evaluation is the mean time of an episode times their number: every episode passes its own
support and query through the backbone.  Usage:

    python evaluation.py --threads 2 --count 10 [--folder target/tmp/five_seeds] [--skip-unused]

Prints one JSON object: seconds of an episode (mean, the first one left out) and the largest difference of an IoU.
"""

import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from measuring import begin, parser, settle
from ssp_episode import Backbone, head

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def read_safetensors(path):
    data = Path(path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    body = memoryview(data)[8 + length :]
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            values = np.frombuffer(body[first:last], {"F32": np.float32, "I64": np.int64}[entry["dtype"]])
            tensors[name] = torch.from_numpy(values.reshape(entry["shape"]).copy())
    return tensors


def official_name(name, blocks=(3, 4, 6)):
    """From names of the peer to those of the published weights."""
    parts = name.split(".")
    if parts[0] == "stem":
        place = int(parts[1])
        return ".".join(["bn1" if place == 7 else f"conv1.{place}", *parts[2:]])
    place, stage = int(parts[1]), 1
    while place >= blocks[stage - 1]:
        place, stage = place - blocks[stage - 1], stage + 1
    rest = ["downsample" if part == "shortcut" else part for part in parts[2:]]
    return ".".join([f"layer{stage}", str(place), *rest])


def load(path):
    model = Backbone()
    tensors = read_safetensors(path)
    state = {name: tensors.get(official_name(name), value) for name, value in model.state_dict().items()}
    missing = [name for name in state if official_name(name) not in tensors and "num_batches" not in name]
    assert not missing, missing
    model.load_state_dict(state)
    return model.eval()


def read(pair, label):
    image = np.asarray(Image.open(pair["image"]).convert("RGB"), dtype=np.float32) / 255
    image = (image - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
    mask = np.asarray(Image.open(pair["mask"]), dtype=np.int64)
    mask = np.where(mask == label, 1, np.where(mask == 255, 255, 0))
    device = torch.get_default_device()
    return torch.from_numpy(image.transpose(2, 0, 1))[None].to(device), torch.from_numpy(mask)[None].to(device)


def iou(found, truth):
    found, truth = found[truth != 255] == 1, truth[truth != 255] == 1
    union = (found | truth).sum().item()
    return (found & truth).sum().item() / union if union else None


def main():
    target = Path(os.environ.get("CARGO_TARGET_DIR", Path(__file__).resolve().parents[2] / "target"))
    options = parser(__doc__)
    options.add_argument("--folder", type=Path, default=target / "tmp" / "five_seeds")
    options.add_argument("--count", type=int, default=10)
    options.add_argument("--skip-unused", action="store_true", help="leave out the prototype that nothing reads")
    args = begin(options)
    model = load(args.folder / "weights.safetensors")
    episodes = json.loads((args.folder / "episodes.json").read_text())[: args.count + 1]
    known = json.loads((args.folder / "ious.json").read_text())
    seconds, gap = [], 0.0
    with torch.inference_mode():
        for episode, ours in zip(episodes, known):
            settle()
            start = time.perf_counter()
            support, support_mask = read(episode["support"], episode["class"])
            query, truth = read(episode["query"], episode["class"])
            size = truth.shape[-2:]
            logits = head([model(support)], [support_mask], model(query), size, True, not args.skip_unused)
            found = iou(logits.argmax(1), truth)
            settle()
            seconds.append(time.perf_counter() - start)
            if found is not None and ours is not None:
                gap = max(gap, abs(found - ours))
    print(json.dumps({"torch": torch.__version__, "episode": sum(seconds[1:]) / len(seconds[1:]), "iou_gap": gap}))


if __name__ == "__main__":
    main()
