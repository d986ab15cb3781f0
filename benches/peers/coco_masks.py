"""pycocotools peer of benches/annotations.rs and prepare.rs: reads annotation files, paints their label masks.

    python coco_masks.py --file FILE [FILE ..] [--out DIR] [--crowds paint|leave] [--processes 2] [--repeat 5]

With --out, masks are written as grey PNG files by Pillow.  A file is read once; the processes are forked from there
and share the images.  Prints one JSON object: median seconds of `read`, `paint` (writing included) and `read and
paint`, and the sum of all labels painted.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import shutil
import statistics
import time
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools.coco import COCO

coco = None
args = None


def read(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(path)


def paint(image_ids):
    total = 0
    for image_id in image_ids:
        image = coco.imgs[image_id]
        mask = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in coco.imgToAnns[image_id]:
            if annotation["iscrowd"] and args.crowds == "leave":
                continue
            mask[coco.annToMask(annotation) == 1] = annotation["category_id"]
        if args.out:
            name = Path(image["file_name"]).stem + ".png"
            Image.fromarray(mask).save(Path(args.out) / name)
        total += int(mask.sum())
    return total


def main():
    global coco, args
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", required=True, nargs="+")
    parser.add_argument("--out", help="where masks are written; the folder is emptied before")
    parser.add_argument("--crowds", choices=["paint", "leave"], default="paint")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()

    seconds = {"read": [], "paint": [], "read and paint": []}
    for _ in range(args.repeat):
        if args.out:
            shutil.rmtree(args.out, ignore_errors=True)
            Path(args.out).mkdir(parents=True)
        reading = painting = total = 0
        for file in args.file:
            start = time.perf_counter()
            coco = read(file)
            middle = time.perf_counter()
            ids = list(coco.imgs)
            parts = [ids[first :: args.processes] for first in range(args.processes)]
            with multiprocessing.get_context("fork").Pool(args.processes) as pool:
                total += sum(pool.map(paint, parts))
            end = time.perf_counter()
            reading += middle - start
            painting += end - middle
        for name, value in zip(seconds, (reading, painting, reading + painting)):
            seconds[name].append(value)
    result = {name: statistics.median(values) for name, values in seconds.items()}
    print(json.dumps({**result, "label_sum": total}))


if __name__ == "__main__":
    main()
