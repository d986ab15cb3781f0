//! The help texts, as users see them.

mod common;

use common::Scratch;

fn help(arguments: &str) -> String {
    Scratch::new().ok(arguments)
}

#[test]
fn commands() {
    insta::assert_snapshot!(help("--help"), @r"
    Few-shot semantic segmentation: from a few annotated images to masks of any other image

    Usage: fss [OPTIONS] <COMMAND>

    Commands:
      predict  Segment images after a few annotated examples
      eval     Measure a model on the novel classes of a fold
      train    Train a model by a recipe
      data     Make and check data sets
      weights  Look into weight files and convert them
      help     Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Global options:
          --device <DEVICE>  Where to compute: cpu, cuda[:N], vulkan[:N] or wgpu[:N] [default: cpu]
          --threads <N>      How many CPU threads to use [default: all cores]
      -v, --verbose...       Say more; twice for everything
      -q, --quiet            Say nothing but warnings and errors, and show no progress
    ");
}

#[test]
fn predict() {
    insta::assert_snapshot!(help("predict -h"), @r"
    Segment images after a few annotated examples

    Usage: fss predict [OPTIONS] --support <IMG:MASK> --query <FILE|DIR> --out <DIR> --weights <FILE>

    Options:
          --support <IMG:MASK>  An annotated example: the image and its mask, joined by a colon; repeat for more examples
          --class <ID>          The label in the masks that is the object [default: every value but 0 and 255]
          --query <FILE|DIR>    An image, or a folder of images (its sub-folders are not searched)
          --out <DIR>           The folder for the results; it is made if it is not there
          --save <LIST>         What to write for each query [default: mask,overlay] [possible values: mask, overlay, logits]
          --max-side <PIXELS>   Shrink larger images to this longest side for the network; results keep the image's size [default: 1500]
          --skip-done           Leave out queries whose results are all there already
      -h, --help                Print help (see more with '--help')

    Model:
          --model <MODEL>    The method [default: ssp] [possible values: ssp]
          --backbone <NAME>  The backbone that the weights were trained with [default: resnet50] [possible values: resnet18, resnet34, resnet50, resnet101, resnet152]
          --width <N>        Channels of the backbone's first stage [default: what the weights say; 64 is published]
          --refine           SSP: run the self-support step a second time, as the published tables do
          --weights <FILE>   A checkpoint of the whole model: .pth of the official code, .safetensors or .bpk

    Global options:
          --device <DEVICE>  Where to compute: cpu, cuda[:N], vulkan[:N] or wgpu[:N] [default: cpu]
          --threads <N>      How many CPU threads to use [default: all cores]
      -v, --verbose...       Say more; twice for everything
      -q, --quiet            Say nothing but warnings and errors, and show no progress
    ");
}

#[test]
fn eval() {
    insta::assert_snapshot!(help("eval -h"), @r"
    Measure a model on the novel classes of a fold

    Usage: fss eval [OPTIONS] --weights <FILE> --data-root <DIR> --fold <N>

    Options:
          --json <FILE>  Write scores and drawn episodes to this file; equal evaluations give equal files
      -h, --help         Print help (see more with '--help')

    Model:
          --model <MODEL>    The method [default: ssp] [possible values: ssp]
          --backbone <NAME>  The backbone that the weights were trained with [default: resnet50] [possible values: resnet18, resnet34, resnet50, resnet101, resnet152]
          --width <N>        Channels of the backbone's first stage [default: what the weights say; 64 is published]
          --refine           SSP: run the self-support step a second time, as the published tables do
          --weights <FILE>   A checkpoint of the whole model: .pth of the official code, .safetensors or .bpk

    Data:
          --data-root <DIR>    The folder of the data set
          --dataset <DATASET>  The benchmark whose classes and folds it has [default: pascal] [possible values: pascal]
          --min-pixels <N>     The smallest object, in pixels, that can be a query or a support [default: 2048]

    Episodes:
          --fold <N>             The fold whose classes are novel, 0 to 3
          --shot <K>             Supports of an episode [default: 1]
          --protocol <PROTOCOL>  How episodes are drawn and scored [default: official] [possible values: official]
          --seeds <LIST>         One run for each of these seeds [default: 0,1,2,3,4]
          --episodes <N>         Episodes of each run [default: 1000]
          --upper-bound          Let each query with its true mask be its own support: what prototypes could reach at best

    Features:
          --feature-cache <BYTES>  Memory for features [default: 2GiB]
          --spill <SPILL>          What happens to features that do not fit [default: disk] [possible values: disk, recompute]
          --no-reuse               Compute the features anew for every episode, as the published code does

    Global options:
          --device <DEVICE>  Where to compute: cpu, cuda[:N], vulkan[:N] or wgpu[:N] [default: cpu]
          --threads <N>      How many CPU threads to use [default: all cores]
      -v, --verbose...       Say more; twice for everything
      -q, --quiet            Say nothing but warnings and errors, and show no progress
    ");
}

#[test]
fn train() {
    insta::assert_snapshot!(help("train -h"), @r"
    Train a model by a recipe

    Usage: fss train [OPTIONS]

    Options:
          --recipe <NAME|FILE>  A built-in recipe or a TOML file [default with --resume: OUT/recipe.toml]
          --set <KEY=VALUE>     Change a value of the recipe, as in --set episodes.shot=5; repeat for more
          --data-root <DIR>     The folder of the data set
          --pretrained <FILE>   The backbone weights to start from
          --out <DIR>           The folder of the run
          --resume              Continue the run in OUT
          --list                List the built-in recipes and end
          --show                Print the recipe in force and end
      -h, --help                Print help (see more with '--help')

    Global options:
          --device <DEVICE>  Where to compute: cpu, cuda[:N], vulkan[:N] or wgpu[:N] [default: cpu]
          --threads <N>      How many CPU threads to use [default: all cores]
      -v, --verbose...       Say more; twice for everything
      -q, --quiet            Say nothing but warnings and errors, and show no progress
    ");
}
