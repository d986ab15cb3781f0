#!/usr/bin/env bash
# Builds for a GPU, checks the golden cases there, and times every row beside PyTorch on the same GPU.
#
#   benches/gpu.sh [cuda|vulkan|wgpu] [PYTHON_WITH_TORCH]
#
# Writes benches/GPU.md. Needs the crates in cargo's registry folder (`cargo fetch`), and for CUDA the LLVM that Burn's
# compiler links against (its first build fetches it); nothing else from a network. Without a Python the table has our
# figures alone. PyTorch runs on CUDA, whichever back end ours takes.
set -euo pipefail
cd "$(dirname "$0")/.."

backend=${1:-cuda}
python=${2:-}
case "$backend" in
    cuda | vulkan | wgpu) ;;
    *)
        echo "no such back end: $backend (cuda, vulkan or wgpu)" >&2
        exit 2
        ;;
esac
if [ -n "$python" ] && ! "$python" -c 'import torch; assert torch.cuda.is_available()'; then
    echo "$python has no PyTorch that sees a GPU; leave it out for a table of ours alone" >&2
    exit 2
fi

echo "=== build"
cargo build --release -p fss-cli --features "$backend"

# Composed bodies first, then our kernels in CubeCL, which the rows below are measured with.
for kernels in 0 1; do
    echo "=== golden cases and properties on the GPU, FSS_CUBECL_KERNELS=$kernels"
    FSS_CUBECL_KERNELS=$kernels FSS_TEST_DEVICE=$backend cargo test --release -p fss-kernels -p fss-heads \
        --features "fss-kernels/$backend,fss-heads/$backend" --test '*' -- --test-threads 2
done

echo "=== benches"
python3 benches/report.py --device "$backend" ${python:+--python "$python"}
echo "written to benches/GPU.md"
