"""Runs the benches and writes benches/README.md from their output.

    python3 benches/report.py [--python PYTHON_WITH_TORCH] [--skip-benches]

Ratios compare our own figures with those of the PyTorch peer, both measured by this script within minutes of
each other on the same machine.  Without a Python that has torch, the peer's columns stay empty.
"""

import argparse
import json
import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benches" / "peers"
EPISODES = [
    # row of criterion, peer with its arguments, row of the peer
    ("backbone resnet50 473x473/folded", ("ssp",), "backbone"),
    ("ssp resnet50 episode 473x473/1-shot refine Off", ("ssp",), "episode"),
    ("ssp resnet50 episode 473x473/1-shot refine On", ("ssp", "--refine"), "episode"),
    ("ssp resnet50 episode 473x473/5-shot refine On", ("ssp", "--refine", "--shots", "5"), "episode"),
    ("kernels/self_support", ("ssp",), "self_support"),
    # As published, with features enlarged to the image's size, and without.
    ("mlc resnet50 episode 473x473/1-shot", ("mlc",), "episode"),
    ("mlc resnet50 episode 473x473/1-shot", ("mlc", "--pooling", "low"), "episode"),
    ("mlc resnet50 episode 473x473/5-shot", ("mlc", "--shots", "5"), "episode"),
    # One object that covers a quarter of the support, and one that covers it all.
    ("taps 400x400/resnet50", ("hsnet",), "backbone"),
    ("hsnet resnet50 episode 400x400/1-shot", ("hsnet",), "episode"),
    ("hsnet resnet50 episode 400x400/1-shot whole support", ("hsnet", "--mask-share", "1"), "episode"),
    ("hsnet resnet50 episode 400x400/5-shot", ("hsnet", "--shots", "5"), "episode"),
    ("imr resnet50 episode 400x400/1-shot 2 stages", ("hsnet", "--model", "imr"), "episode"),
    ("clip rn50 224x224/image", ("clip",), "image"),
    ("clip rn50 224x224/grad-cam", ("clip",), "cam"),
]
MEMORY = [
    ("ssp", ("ssp",)),
    ("mlc", ("mlc",)),
    ("mlc", ("mlc", "--pooling", "low")),
    ("hsnet", ("hsnet",)),
    ("imr", ("hsnet", "--model", "imr")),
]

# Where the peers lie.
SCRIPTS = {"ssp": "ssp_episode.py", "mlc": "mlc_episode.py", "hsnet": "hsnet_episode.py", "clip": "clip_cam.py"}

# Rows of benches/annotations.rs, by the same names in benches/peers/coco_masks.py.
MASKS = PEERS / "coco_masks.py"
MASK_GROUP = "annotations 2000 images, 15000 objects"
PREPARED = "prepare coco 2500 images, 19000 objects/all"


def run(command, **settings):
    return subprocess.run(command, cwd=ROOT, check=True, text=True, **settings)


def output(command):
    return run(command, stdout=subprocess.PIPE).stdout.strip()


def measured():
    """Mean time in seconds of every criterion row."""
    rows = {}
    for file in sorted((target() / "criterion").glob("**/new/estimates.json")):
        name = json.loads((file.parent / "benchmark.json").read_text())["full_id"]
        rows[name] = json.loads(file.read_text())["median"]["point_estimate"] * 1e-9
    return rows


def target():
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def mask_lines(rows, python):
    """The table beside pycocotools; it reads the file that the bench left in the target folder."""
    file = target() / "tmp" / "annotations.json"
    command = [python, str(MASKS), "--file", str(file), "--processes", str(os.cpu_count())]
    theirs = json.loads(output(command))
    lines = [
        "",
        "## Beside pycocotools",
        "",
        "The peer is `benches/peers/coco_masks.py` on the same annotation file, with a process for each of our threads.",
        "",
        "| work | ours | pycocotools | ratio |",
        "|---|---|---|---|",
    ]
    for part in ["read", "paint", "read and paint"]:
        ours = rows[f"{MASK_GROUP}/{part}"]
        lines.append(f"| {part} | {show(ours)} | {show(theirs[part])} | {ours / theirs[part]:.2f} |")
    # The same masks as PNG files, by `fss data prepare coco` and by Pillow.
    files = [str(target() / "tmp" / "prepare" / f"instances_{split}2014.json") for split in ("train", "val")]
    written = ["--out", str(target() / "tmp" / "peer_masks"), "--crowds", "leave"]
    command = [python, str(MASKS), "--file", *files, "--processes", str(os.cpu_count()), *written]
    ours, theirs = rows[PREPARED], json.loads(output(command))["read and paint"]
    lines.append(f"| {PREPARED} (PNG files) | {show(ours)} | {show(theirs)} | {ours / theirs:.2f} |")
    return lines


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def show(seconds):
    return f"{seconds * 1e3:.1f} ms" if seconds < 10 else f"{seconds:.1f} s"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", help="a Python with torch and pycocotools, for the peers")
    parser.add_argument("--skip-benches", action="store_true", help="use the figures of the last run")
    args = parser.parse_args()

    peers = {}
    if args.python:
        for _, peer, _ in EPISODES:
            if peer not in peers:
                script = PEERS / SCRIPTS[peer[0]]
                command = [args.python, "-B", str(script), "--threads", str(os.cpu_count()), "--repeat", "5", *peer[1:]]
                peers[peer] = json.loads(output(command))
    if not args.skip_benches:
        names = ["kernels", "correlation", "model", "evaluation", "annotations", "prepare", "startup"]
        run(["cargo", "bench", *(word for name in names for word in ("--bench", name))])
    rows = measured()
    run(["cargo", "build", "--release", "--example", "episode_memory"])
    memory = ["cargo", "run", "--release", "--quiet", "--example", "episode_memory", "--"]
    ours_peak = {model: float(output([*memory, model])) for model in sorted({model for model, _ in MEMORY})}

    lines = [
        "# Speed and memory",
        "",
        "Written by `benches/report.py`; not edited by hand.",
        "",
        f"- processor: {processor()}, {os.cpu_count()} threads",
        f"- {output(['rustc', '--version'])}",
    ]
    if peers:
        lines.append(f"- PyTorch {next(iter(peers.values()))['torch']}, eager, same number of threads")
    lines += [
        "- command: `python3 benches/report.py --python PYTHON_WITH_TORCH`",
        "- medians; both sides ran one after the other on the same machine",
        "",
        "## Beside PyTorch",
        "",
        "The peers are `benches/peers/ssp_episode.py`, the published architecture in plain PyTorch without the unused",
        "foreground prototype, and `mlc_episode.py`, which pools as published from features enlarged to the image's size,",
        "or (`--pooling low`) by the equal sum of the small ones; `hsnet_episode.py`, HSNet and IMR; and `clip_cam.py`,",
        "CLIP's image encoder and Grad-CAM with prompts that are encoded once. A ratio below 1 means that we are faster.",
        "",
        "| work | peer | ours | PyTorch | ratio |",
        "|---|---|---|---|---|",
    ]
    for name, options, part in EPISODES:
        peer = peers.get(options)
        if peer:
            theirs = peer[part]["median"]
            ratio = rows[name] / theirs
            lines.append(f"| {name} | {' '.join(options)} | {show(rows[name])} | {show(theirs)} | {ratio:.2f} |")
        else:
            lines.append(f"| {name} | {' '.join(options)} | {show(rows[name])} | | |")
    if peers:
        lines += ["", "Peak memory of a 1-shot episode (whole processes, libraries included):", ""]
        lines += ["| model | peer | ours | PyTorch | ratio |", "|---|---|---|---|---|"]
        for model, options in MEMORY:
            ours, theirs = ours_peak[model], peers[options]["peak_mib"]
            lines.append(f"| {model} | {' '.join(options)} | {ours:.0f} MiB | {theirs:.0f} MiB | {ours / theirs:.2f} |")
    if args.python:
        lines += mask_lines(rows, args.python)
    lines += ["", "## All rows", "", "| bench | median |", "|---|---|"]
    lines += [f"| {name} | {show(seconds)} |" for name, seconds in rows.items()]
    (ROOT / "benches" / "README.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
