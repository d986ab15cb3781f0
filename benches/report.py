"""Runs the benches and writes benches/README.md from their output.

    python3 benches/report.py [--python PYTHON_WITH_TORCH] [--skip-benches] [--only WORD] [--device cuda]

Ratios compare our own figures with those of the PyTorch peer, both measured by this script within minutes of
each other on the same machine.  Without a Python that has torch, the peer's columns stay empty.
`--resume` goes on where an interrupted run stopped, and keeps what that one measured.
`--only hsnet` prints the rows beside PyTorch whose name has that word in it, and writes nothing.
`--device cuda` (or vulkan, wgpu) measures the rows beside PyTorch on a GPU and writes benches/GPU.md; see gpu.sh.
"""

import argparse
import json
import math
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
    ("ssp resnet50 episode 473x473/5-shot refine Off", ("ssp_episode", "--shots", "5"), "episode"),
    ("ssp resnet50 episode 473x473/5-shot refine On", ("ssp_episode", "--refine", "--shots", "5"), "episode"),
    ("ssp resnet50 step 473x473/batch 4", ("ssp_step",), "step"),
    # As published, with a prototype that nothing reads, and without.
    ("kernels/self_support", ("ssp_episode", "--unused-foreground"), "self_support"),
    ("kernels/self_support", ("ssp_episode",), "self_support"),
    ("kernels/cosine_maps/2", ("kernels",), "cosine_maps/2"),
    ("kernels/cosine_maps/21", ("kernels",), "cosine_maps/21"),
    ("kernels/cosine_map_dense", ("kernels",), "cosine_map_dense"),
    ("kernels/masked_average_pool", ("kernels",), "masked_average_pool"),
    ("kernels/masked_average_pool_at_mask_size", ("kernels",), "masked_average_pool_at_mask_size"),
    ("kernels/resize_bilinear/aligned", ("kernels",), "resize_bilinear/aligned"),
    ("kernels/resize and argmax", ("kernels",), "resize and argmax"),
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

# Peers that compute nothing on a GPU.
ON_CPU = {"loading"}

# What grows, by which options of examples/scaling.rs, and how time should grow with it.
SCALING = [
    ("side of the image", "size", (241, 321, 473, 641), "pixels (side squared) for the backbone, their square for self-support: exponent about 2, more for very large maps"),
    ("shots", "shots", (1, 2, 5, 10), "one pass of the backbone each, and one for the query: exponent just below 1"),
    ("ways", "ways", (1, 2, 5), "as shots: each way has a support of its own"),
    ("episodes", "episodes", (10, 50, 250), "the head alone once all images were seen: exponent up to 1"),
]

# Rows of benches/annotations.rs, by the same names in benches/peers/coco_masks.py.
MASKS = PEERS / "coco_masks.py"
MASK_GROUP = "annotations 2000 images, 15000 objects"
PREPARED = "prepare coco 2500 images, 19000 objects/all"


def run(command, **settings):
    return subprocess.run(command, cwd=ROOT, check=True, text=True, **settings)


class Store:
    """What was measured so far, in a file that outlives an interrupted run."""

    def __init__(self, path, resume, keep):
        self.path, self.keep = path, keep
        self.found = json.loads(path.read_text()) if resume and path.exists() else {}

    def get(self, key, measure):
        if key not in self.found:
            self.found[key] = measure()
            if self.keep:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.write_text(json.dumps(self.found))
        return self.found[key]

    def printed(self, command):
        """The JSON that a command prints."""
        words = [str(word) for word in command]
        return self.get(" ".join(words), lambda: json.loads(output(words)))


def output(command):
    return run(command, stdout=subprocess.PIPE).stdout.strip()


def measured(folder):
    """Mean time in seconds of every criterion row."""
    rows = {}
    for file in sorted(folder.glob("**/new/estimates.json")):
        name = json.loads((file.parent / "benchmark.json").read_text())["full_id"]
        rows[name] = json.loads(file.read_text())["median"]["point_estimate"] * 1e-9
    return rows


def target():
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def mask_lines(rows, python, store):
    """The table beside pycocotools; it reads the file that the bench left in the target folder."""
    file = target() / "tmp" / "annotations.json"
    command = [python, str(MASKS), "--file", str(file), "--processes", str(os.cpu_count())]
    theirs = store.printed(command)
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
    ours, theirs = rows[PREPARED], store.printed(command)["read and paint"]
    lines.append(f"| {PREPARED} (PNG files) | {show(ours)} | {show(theirs)} | {ours / theirs:.2f} |")
    return lines


def graphics():
    """The GPU, as the driver names it."""
    try:
        return output(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]).splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "a GPU"


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def show(seconds):
    return f"{seconds * 1e3:.1f} ms" if seconds < 10 else f"{seconds:.1f} s"


def peer_figures(python, episodes, device, store):
    """What the peers of some rows print, by script and arguments."""
    figures = {}
    for _, peer, _ in episodes:
        if peer in figures or (device != "cpu" and peer[0] in ON_CPU):
            continue
        options = ["--threads", str(os.cpu_count()), "--repeat", "5", *peer[1:]]
        options += [] if device == "cpu" else ["--device", "cuda"]
        figures[peer] = store.printed([python, "-B", PEERS / f"{peer[0]}.py", *options])
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


def scaling_lines(store):
    """How time and memory of SSP grow; each point is a process of its own."""
    run(["cargo", "build", "--release", "--example", "scaling"])
    program = str(target() / "release" / "examples" / "scaling")
    lines = [
        "",
        "## How time and memory grow",
        "",
        "SSP with ResNet-50, refined (`cargo run --release --example scaling`): an episode of 473x473 with one shot and one way",
        "unless said otherwise; evaluations of one seed over 60 images of some 200 pixels. The exponent is that of the step from",
        "the line before: 1 means in proportion.",
        "",
        "| what grows | | time | exponent | peak memory | exponent |",
        "|---|---|---|---|---|---|",
    ]
    for what, option, values, _ in SCALING:
        before = None
        for value in values:
            found = store.printed([program, f"--{option}", value])
            growth = ["", ""]
            if before:
                step = math.log(value / before[0])
                growth = [f"{math.log(found[key] / before[1][key]) / step:.2f}" for key in ("seconds", "peak_mib")]
            row = [show(found["seconds"]), growth[0], f"{found['peak_mib']} MiB", growth[1]]
            lines.append(f"| {what} | {value} | {' | '.join(row)} |")
            before = value, found
    lines += ["", "What time should do:", ""]
    return lines + [f"- {what}: {should}" for what, _, _, should in SCALING]


def five_seed_lines(python, store, whole):
    """The official evaluation, or a fifth of it, and what PyTorch would take for it."""
    images, episodes = (350, 1000) if whole else (70, 200)
    folder = target() / "tmp" / "five_seeds"
    command = ["cargo", "run", "--release", "--quiet", "--example", "five_seeds", "--", "--folder", str(folder)]
    command += ["--images", str(images), "--episodes", str(episodes)]
    ours = store.printed(command)
    lines = ["", "## The official evaluation", ""]
    lines += [
        f"Five seeds of {episodes} 1-shot episodes over {images} generated images of VOC's size, one after the other (`cargo run",
        "--release --example five_seeds`). Officially, they are 1000 over some 350 images: as many for each image.",
        "PyTorch's time is that of an episode, measured on some of the same (`benches/peers/evaluation.py`), times their number;",
        "`--skip-unused` leaves out the prototype that the published code makes and never reads.",
        "",
        "| peer | ours | PyTorch | ratio |",
        "|---|---|---|---|",
    ]
    for options in ([], ["--skip-unused"]) if python else ():
        peer = [python, "-B", str(PEERS / "evaluation.py"), "--threads", str(os.cpu_count()), "--folder", str(folder)]
        theirs = store.printed([*peer, *options])["episode"] * ours["episodes"]
        name = " ".join(["evaluation", *options])
        lines.append(f"| {name} | {ours['seconds']:.0f} s | {theirs:.0f} s | {ours['seconds'] / theirs:.3f} |")
    return lines


def memory_lines(peers, store):
    run(["cargo", "build", "--release", "--example", "episode_memory"])
    command = ["cargo", "run", "--release", "--quiet", "--example", "episode_memory", "--"]
    peaks = {model: store.printed([*command, model]) for model in dict(MEMORY)}
    lines = ["", "Peak memory of a 1-shot episode (whole processes, libraries included):", ""]
    lines += ["| model | peer | ours | PyTorch | ratio |", "|---|---|---|---|---|"]
    for model, options in MEMORY:
        ours, theirs = peaks[model], peers[options]["peak_mib"]
        lines.append(f"| {model} | {' '.join(options)} | {ours:.0f} MiB | {theirs:.0f} MiB | {ours / theirs:.2f} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="a Python with torch and pycocotools, for the peers")
    parser.add_argument("--skip-benches", action="store_true", help="use the figures of the last run")
    parser.add_argument("--whole", action="store_true", help="all of the official evaluation, not a fifth (some 15 minutes)")
    parser.add_argument("--resume", action="store_true", help="keep what an interrupted run measured")
    parser.add_argument("--only", metavar="WORD", help="print the rows beside PyTorch with this word in their name")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda", "vulkan", "wgpu"))
    args = parser.parse_args()

    on_gpu = args.device != "cpu"
    criterion = target() / ("criterion-" + args.device if on_gpu else "criterion")
    os.environ["CRITERION_HOME"] = str(criterion)
    os.environ["FSS_BENCH_DEVICE"] = args.device
    episodes = [row for row in EPISODES if (args.only or "") in row[0] and not (on_gpu and row[1][0] in ON_CPU)]
    # A look at some rows leaves what an interrupted run measured as it is.
    store = Store(target() / "tmp" / f"report-{args.device}.json", args.resume, keep=not args.only)
    peers = peer_figures(args.python, episodes, args.device, store) if args.python else {}
    if not args.skip_benches:
        names = ["kernels", "model", "generalized", "training"]
        if not on_gpu:
            names.append("loading")
        if not on_gpu and not args.only:
            names += ["correlation", "evaluation", "annotations", "prepare", "startup"]
        features = ["--features", args.device] if on_gpu else []
        words = ["--", args.only] if args.only else []
        # The whole workspace's features, with which the tests have built all but the benches already.
        command = ["cargo", "bench", *(features or ["--workspace"])]
        # All are built first, so that none is measured while the next one is built.
        run([*command, "--no-run", *(word for name in names for word in ("--bench", name))])
        for name in names:
            bench = [*command, "--bench", name, *words]
            store.get(" ".join(bench), lambda: run(bench) and None)
    rows = measured(criterion)
    table = episode_lines(episodes, rows, peers)
    if args.only:
        print("\n".join(table))
        return

    versions = [f"- {output(['rustc', '--version'])}"]
    if peers:
        versions.append(f"- PyTorch {next(iter(peers.values()))['torch']}, eager")
    if on_gpu:
        lines = ["# On a GPU", "", "Written by `benches/gpu.sh`; not edited by hand.", "", f"- {graphics()}, {args.device}"]
        lines += [*versions, "- medians; both sides ran one after the other on the same machine", "", *table]
        (ROOT / "benches" / "GPU.md").write_text("\n".join(lines) + "\n")
        return

    lines = [
        "# Speed and memory",
        "",
        "Written by `benches/report.py`; not edited by hand.",
        "",
        f"- processor: {processor()}, {os.cpu_count()} threads; PyTorch with as many",
        *versions,
        "- command: `python3 benches/report.py --python PYTHON_WITH_TORCH`",
        "- medians; both sides ran one after the other on the same machine",
        "",
        "## Beside PyTorch",
        "",
        "The peers are published architectures in plain PyTorch (`benches/peers`): `ssp_episode.py` without the unused",
        "foreground prototype, but where said; `kernels.py`, the kernels one by one; `mlc_episode.py`, which pools as published",
        "from features enlarged to the image's size, or (`--pooling low`) by the equal sum of the small ones;",
        "`hsnet_episode.py`, which makes the query's features once for all shots, with an object on a quarter of the support (or",
        "`--mask-share` of it); `pop_image.py`, whose head makes a map for each class; `ssp_step.py`, a training step;",
        "`loading.py`, torch.load of the same file (beside all of our formats), and Pillow with NumPy in two processes; and",
        "`clip_cam.py`, with prompts that are encoded once. A ratio below 1 means that we are faster.",
        "",
        *table,
    ]
    if peers:
        lines += memory_lines(peers, store)
    lines += five_seed_lines(args.python, store, args.whole)
    lines += scaling_lines(store)
    if args.python and PREPARED in rows:
        lines += mask_lines(rows, args.python, store)
    lines += ["", "## All rows", "", "| bench | median |", "|---|---|"]
    lines += [f"| {name} | {show(seconds)} |" for name, seconds in rows.items()]
    (ROOT / "benches" / "README.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
