"""Writes cases.json: masks of polygons, runs and whole annotation files as pycocotools makes them.

    python make.py        needs numpy and pycocotools (made with 2.0.11)
"""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
from pycocotools import mask as api
from pycocotools.coco import COCO

random = np.random.default_rng(20)


def corners(shape, height, width):
    """Points [n, 2] of a polygon of some shape, in and around an image."""
    size = np.array([width, height], float)
    n = int(random.integers(3, 10))
    inside = random.random((n, 2)) * size
    match shape:
        case "integer":
            return np.floor(inside)
        case "half":
            return np.floor(2 * inside) / 2
        case "tenth":
            return np.round(inside, 1)
        case "hundredth":
            return np.round(inside, 2)
        case "float":
            return inside
        case "outside":
            return np.round((3 * random.random((n, 2)) - 1) * size, 2)
        case "far outside":
            return np.round((random.random((n, 2)) - 0.5) * 1e5, 1)
        case "thin":
            inside[:, random.integers(0, 2)] = random.random() * size.min() + 0.4 * random.random(n)
            return np.round(inside, 3)
        case "tiny":
            return np.round(inside[0] + 1.2 * random.random((n, 2)), 3)
        case "border":
            to_border = random.random((n, 2))
            return np.where(to_border < 0.3, 0, np.where(to_border > 0.7, size, np.round(inside, 1)))
        case "star":  # crosses itself
            turns = 4 * np.pi * np.arange(n) / n
            return np.round(size / 2 + 0.48 * np.stack([np.cos(turns), np.sin(turns)], 1) * size, 2)
        case "round":
            turns = 2 * np.pi * np.arange(4 * n) / (4 * n)
            return np.round(size / 2 + 0.4 * np.stack([np.cos(turns), np.sin(turns)], 1) * size, 2)
        case "repeated":
            return np.repeat(np.round(inside, 1), 2, 0)


SHAPES = [
    "integer", "half", "tenth", "hundredth", "float", "outside", "far outside", "thin", "tiny", "border",
    "star", "round", "repeated",
]


def polygon(height, width, shape=None):
    points = corners(shape or SHAPES[int(random.integers(len(SHAPES)))], height, width)
    return [float(value) for value in points.reshape(-1)]


def size():
    height, width = (int(side) for side in random.integers(1, 60, 2))
    return (height, 1) if random.random() < 0.05 else (height, width)


def text(rle):
    return rle["counts"].decode()


def polygon_cases():
    for shape in SHAPES:
        for _ in range(24):
            height, width = size()
            yield polygon_case(height, width, [polygon(height, width, shape)])
    for _ in range(60):
        height, width = size()
        yield polygon_case(height, width, [polygon(height, width) for _ in range(int(random.integers(2, 5)))])
    for shape in SHAPES:
        yield polygon_case(480, 640, [polygon(480, 640, shape)])


def polygon_case(height, width, polygons):
    rle = api.merge(api.frPyObjects(polygons, height, width))
    return {
        "height": height,
        "width": width,
        "polygons": polygons,
        "compressed": text(rle),
        "area": int(api.area(rle)),
    }


def blobs(height, width):
    """Runs of a random mask, as a list."""
    mask = random.random((height, width)) < random.choice([0.02, 0.5, 0.97])
    if random.random() < 0.5:
        mask[height // 3 :, : 1 + width // 2] = True
    flat = mask.T.reshape(-1)
    change = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], change, [flat.size]]))
    return ([0] if flat[0] else []) + [int(count) for count in counts]


def run_cases():
    for _ in range(40):
        height, width = (int(side) for side in random.integers(1, 24, 2))
        counts = blobs(height, width)
        rle = api.frPyObjects({"size": [height, width], "counts": counts}, height, width)
        yield {
            "height": height,
            "width": width,
            "counts": counts,
            "compressed": text(rle),
            "area": int(api.area(rle)),
            "rows": ["".join(map(str, row)) for row in api.decode(rle)],
        }


def merge_cases():
    for _ in range(40):
        height, width = (int(side) for side in random.integers(1, 24, 2))
        parts = [
            api.frPyObjects({"size": [height, width], "counts": blobs(height, width)}, height, width)
            for _ in range(int(random.integers(1, 5)))
        ]
        yield {
            "height": height,
            "width": width,
            "parts": [text(part) for part in parts],
            "union": text(api.merge(parts)),
        }


CATEGORIES = {3: 1, 17: 2, 18: None, 90: 4}  # id: label


def annotation_file():
    """An annotation file of all kinds of entry, in no order."""
    ids = [int(number) for number in random.permutation(500)[:12]]
    sizes = {id: [int(side) for side in random.integers(8, 40, 2)] for id in ids}
    images = [
        {"id": id, "file_name": f"{id:06}.jpg", "height": height, "width": width, "license": 1}
        for id, (height, width) in sizes.items()
    ]
    annotations = []
    for number in random.permutation(60):
        image = ids[int(random.integers(len(ids) - 1))]  # the last image stays empty
        height, width = sizes[image]
        kind = random.random()
        if kind < 0.7:
            segmentation = [
                polygon(height, width, str(random.choice(["hundredth", "outside", "border", "round"])))
                for _ in range(int(random.integers(1, 3)))
            ]
        else:
            segmentation = {"size": [height, width], "counts": blobs(height, width)}
            if kind > 0.85:
                segmentation["counts"] = text(api.frPyObjects(segmentation, height, width))
        annotations.append(
            {
                "segmentation": segmentation,
                "area": 1.5,
                "iscrowd": int(random.random() < 0.25),
                "image_id": image,
                "bbox": [0, 0, 1, 1],
                "category_id": int(random.choice(list(CATEGORIES))),
                "id": int(number) + 900_000_000_000,
            }
        )
    return {
        "info": {"year": 2000, "nested": {"lists": [[1], [{}]]}},
        "annotations": annotations,
        "images": images,
        "categories": [{"id": id, "name": f"thing {id}", "supercategory": "thing"} for id in CATEGORIES],
    }


def file_case():
    content = annotation_file()
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    masks = []
    for crowds in ["paint", "ignore", "leave"]:
        for image in content["images"]:
            mask = np.zeros((image["height"], image["width"]), np.uint8)
            for annotation in coco.imgToAnns[image["id"]]:
                label = CATEGORIES[annotation["category_id"]]
                if label is None or (annotation["iscrowd"] and crowds == "leave"):
                    continue
                if annotation["iscrowd"] and crowds == "ignore":
                    label = 9  # stands for the ignore index, so that a row is one digit a pixel
                mask[coco.annToMask(annotation) == 1] = label
            rows = ["".join(map(str, row)) for row in mask]
            masks.append({"crowds": crowds, "image_id": image["id"], "rows": rows})
    labels = [[id, label] for id, label in CATEGORIES.items() if label is not None]
    return {"content": content, "labels": labels, "masks": masks}


cases = {
    "polygons": list(polygon_cases()),
    "runs": list(run_cases()),
    "merges": list(merge_cases()),
    "file": file_case(),
}
target = Path(__file__).with_name("cases.json")
target.write_text(json.dumps(cases, separators=(",", ":")) + "\n")
print(f"{target}: {target.stat().st_size / 1000:.0f} kB, {len(cases['polygons'])} polygon cases")
