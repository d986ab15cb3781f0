"""Runs the benches and writes benches/README.md from their output.

    python3 benches/report.py [--python PYTHON_WITH_TORCH] [--skip-benches] [--only WORD]

Ratios compare our own figures with those of the PyTorch peer, both measured by this script within minutes of
each other on the same machine.  Without a Python that has torch, the peer's columns stay empty.
`--only hsnet` prints the rows beside PyTorch whose name has that word in it, and writes nothing.
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
    # row of criterion, script of the peer with its arguments, row of the peer
    ("backbone resnet50 473x473/folded", ("ssp_episode",), "backbone"),
    ("ssp resnet50 episode 473x473/1-shot refine Off", ("ssp_episode",), "episode"),
    ("ssp resnet50 episode 473x473/1-shot refine On", ("ssp_episode", "--refine"), "episode"),
    ("ssp resnet50 episode 473x473/5-shot refine On", ("ssp_episode", "--refine", "--shots", "5"), "episode"),
    ("ssp resnet50 step 473x473/batch 4", ("ssp_step",), "step"),
    ("kernels/self_support", ("ssp_episode",), "self_support"),
    ("load resnet50/pth", ("loading",), "pth"),
    ("load resnet50/safetensors", ("loading",), "pth"),
    ("load resnet50/bpk", ("loading",), "pth"),
    ("read 473x473/training crops", ("loading",), "crops"),
    # As published, with features enlarged to the image's size, and without.
    ("mlc resnet50 episode 473x473/1-shot", ("mlc_episode",), "episode"),
    ("mlc resnet50 episode 473x473/1-shot", ("mlc_episode", "--pooling", "low"), "episode"),
    ("mlc resnet50 episode 473x473/5-shot", ("mlc_episode", "--shots", "5"), "episode"),
    ("taps 400x400/resnet50", ("hsnet_episode",), "backbone"),
    ("hsnet resnet50 episode 400x400/1-shot", ("hsnet_episode",), "episode"),
    ("hsnet resnet50 episode 400x400/1-shot whole support", ("hsnet_episode", "--mask-share", "1"), "episode"),
    ("hsnet resnet50 episode 400x400/5-shot", ("hsnet_episode", "--shots", "5"), "episode"),
    ("imr resnet50 episode 400x400/1-shot 2 stages", ("hsnet_episode", "--model", "imr"), "episode"),
    ("pop head 15+5 classes 60x60/two scores a class", ("pop_image",), "head"),
    ("pop head 60+20 classes 60x60/two scores a class", ("pop_image", "--head-alone", "--base", "60", "--novel", "20"), "head"),
    ("pop head step 15+5 classes/2 images", ("pop_image",), "step"),
    ("psp decoder 60x60/taken apart", ("pop_image",), "decoder"),
    ("pop resnet50 473x473/image", ("pop_image",), "image"),
    # As published, with the ResNet's last stage, which nothing reads, and without.
    ("denet resnet50 episode 321x321/1-shot", ("denet_episode",), "episode"),
    ("denet resnet50 episode 321x321/1-shot", ("denet_episode", "--skip-unused"), "episode"),
    ("denet densenet121 episode 321x321/1-shot", ("denet_episode", "--network", "densenet121"), "episode"),
    ("denet densenet121 episode 321x321/5-shot", ("denet_episode", "--network", "densenet121", "--shots", "5"), "episode"),
    ("clip rn50 224x224/image", ("clip_cam",), "image"),
    ("clip rn50 224x224/grad-cam", ("clip_cam",), "cam"),
]
MEMORY = [
    ("ssp", ("ssp_episode",)),
    ("mlc", ("mlc_episode",)),
    ("mlc", ("mlc_episode", "--pooling", "low")),
    ("hsnet", ("hsnet_episode",)),
    ("imr", ("hsnet_episode", "--model", "imr")),
    ("pop", ("pop_image",)),
]

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


def peer_figures(python, episodes):
    """What the peers of some rows print, by script and arguments."""
    figures = {}
    for _, peer, _ in episodes:
        script = PEERS / f"{peer[0]}.py"
        if peer not in figures and script.exists():
            command = [python, "-B", str(script), "--threads", str(os.cpu_count()), "--repeat", "9", *peer[1:]]
            figures[peer] = json.loads(output(command))
    return figures


def episode_lines(episodes, rows, peers):
    """The table beside PyTorch; rows without a bench are left out."""
    lines = ["| work | peer | ours | PyTorch | ratio |", "|---|---|---|---|---|"]
    for name, options, part in episodes:
        if name not in rows:
            continue
        ours, theirs = rows[name], peers.get(options)
        if theirs:
            theirs = theirs[part]["median"]
            figures = f"{show(ours)} | {show(theirs)} | {ours / theirs:.2f}"
        else:
            figures = f"{show(ours)} | | "
        lines.append(f"| {name} | {' '.join(options)} | {figures} |")
    return lines


def memory_lines(peers):
    run(["cargo", "build", "--release", "--example", "episode_memory"])
    command = ["cargo", "run", "--release", "--quiet", "--example", "episode_memory", "--"]
    peaks = {model: float(output([*command, model])) for model in dict(MEMORY)}
    lines = ["", "Peak memory of a 1-shot episode (whole processes, libraries included):", ""]
    lines += ["| model | peer | ours | PyTorch | ratio |", "|---|---|---|---|---|"]
    for model, options in MEMORY:
        ours, theirs = peaks[model], peers[options]["peak_mib"]
        lines.append(f"| {model} | {' '.join(options)} | {ours:.0f} MiB | {theirs:.0f} MiB | {ours / theirs:.2f} |")
    return lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", help="a Python with torch and pycocotools, for the peers")
    parser.add_argument("--skip-benches", action="store_true", help="use the figures of the last run")
    parser.add_argument("--only", metavar="WORD", help="print the rows beside PyTorch with this word in their name")
    args = parser.parse_args()

    episodes = [row for row in EPISODES if (args.only or "") in row[0]]
    peers = peer_figures(args.python, episodes) if args.python else {}
    if not args.skip_benches:
        names = ["kernels", "model", "generalized"]
        if not args.only:
            names += ["correlation", "evaluation", "annotations", "prepare", "startup"]
        words = ["--", args.only] if args.only else []
        run(["cargo", "bench", *(word for name in names for word in ("--bench", name)), *words])
    rows = measured()
    if args.only:
        print("\n".join(episode_lines(episodes, rows, peers)))
        return

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
        "The peers are published architectures in plain PyTorch (`benches/peers`): `ssp_episode.py` without the unused",
        "foreground prototype; `mlc_episode.py`, which pools as published from features enlarged to the image's size,",
        "or (`--pooling low`) by the equal sum of the small ones; `hsnet_episode.py`, which makes the query's features",
        "once for all shots, with an object on a quarter of the support (or `--mask-share` of it); `pop_image.py`,",
        "whose head makes a map for each class; `ssp_step.py`, a training step; `loading.py`, torch.load of the same file",
        "(beside all of our formats), and Pillow with NumPy in two processes; and `clip_cam.py`, with prompts that are encoded once. A ratio below 1 means that we are faster.",
        "",
    ]
    lines += episode_lines(episodes, rows, peers)
    if peers:
        lines += memory_lines(peers)
    if args.python:
        lines += mask_lines(rows, args.python)
    lines += ["", "## All rows", "", "| bench | median |", "|---|---|"]
    lines += [f"| {name} | {show(seconds)} |" for name, seconds in rows.items()]
    (ROOT / "benches" / "README.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
