"""What the peers in PyTorch share: options, device, timing."""

import argparse
import resource
import statistics
import time

import torch


def parser(doc, repeat=5):
    """A parser that knows the options of every peer."""
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--repeat", type=int, default=repeat)
    options.add_argument("--device", default="cpu", help="where PyTorch computes, as cuda")
    return options


def begin(options):
    """Sets threads, seed and the device of all that is made afterwards; gives the options."""
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    torch.set_default_device(args.device)
    # As PyTorch sets them; said here because ours compute in full float32, too.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return args


def settle():
    """Waits for the device."""
    if torch.get_default_device().type == "cuda":
        torch.cuda.synchronize()


def measure(work, repeat):
    """Seconds of `work`, once to warm up and then so many times."""
    work()
    seconds = []
    for _ in range(repeat):
        settle()
        start = time.perf_counter()
        work()
        settle()
        seconds.append(time.perf_counter() - start)
    return {"min": min(seconds), "median": statistics.median(seconds)}


def peak_mib():
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
