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
PEER = ROOT / "benches" / "peers" / "ssp_episode.py"
EPISODES = [
    # row of criterion, arguments of the peer, row of the peer
    ("backbone resnet50 473x473/folded", [], "backbone"),
    ("ssp resnet50 episode 473x473/1-shot refine Off", [], "episode"),
    ("ssp resnet50 episode 473x473/1-shot refine On", ["--refine"], "episode"),
    ("ssp resnet50 episode 473x473/5-shot refine On", ["--refine", "--shots", "5"], "episode"),
    ("kernels/self_support", [], "self_support"),
]


def run(command, **settings):
    return subprocess.run(command, cwd=ROOT, check=True, text=True, **settings)


def output(command):
    return run(command, stdout=subprocess.PIPE).stdout.strip()


def measured():
    """Mean time in seconds of every criterion row."""
    rows = {}
    folder = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "criterion"
    for file in sorted(folder.glob("**/new/estimates.json")):
        name = json.loads((file.parent / "benchmark.json").read_text())["full_id"]
        rows[name] = json.loads(file.read_text())["median"]["point_estimate"] * 1e-9
    return rows


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def show(seconds):
    return f"{seconds * 1e3:.1f} ms" if seconds < 10 else f"{seconds:.1f} s"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", help="a Python with torch, for the peer")
    parser.add_argument("--skip-benches", action="store_true", help="use the figures of the last run")
    args = parser.parse_args()

    peers = {}
    ours_peak = None
    if args.python:
        for _, options, _ in EPISODES:
            key = tuple(options)
            if key not in peers:
                command = [args.python, str(PEER), "--threads", str(os.cpu_count()), "--repeat", "9", *options]
                peers[key] = json.loads(output(command))
    if not args.skip_benches:
        run(["cargo", "bench", "--bench", "kernels", "--bench", "model", "--bench", "evaluation"])
    rows = measured()
    run(["cargo", "build", "--release", "--example", "episode_memory"])
    ours_peak = float(output(["cargo", "run", "--release", "--quiet", "--example", "episode_memory"]))

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
        "The peer is `benches/peers/ssp_episode.py`, the published architecture in plain PyTorch without the unused",
        "foreground prototype. A ratio below 1 means that we are faster.",
        "",
        "| work | ours | PyTorch | ratio |",
        "|---|---|---|---|",
    ]
    for name, options, part in EPISODES:
        peer = peers.get(tuple(options))
        if peer:
            theirs = peer[part]["median"]
            lines.append(f"| {name} | {show(rows[name])} | {show(theirs)} | {rows[name] / theirs:.2f} |")
        else:
            lines.append(f"| {name} | {show(rows[name])} | | |")
    if peers:
        theirs = peers[()]["peak_mib"]
        lines += ["", f"Peak memory of a 1-shot episode: ours {ours_peak:.0f} MiB, PyTorch {theirs:.0f} MiB, ratio {ours_peak / theirs:.2f} (whole processes, libraries included)."]
    lines += ["", "## All rows", "", "| bench | median |", "|---|---|"]
    lines += [f"| {name} | {show(seconds)} |" for name, seconds in rows.items()]
    (ROOT / "benches" / "README.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
