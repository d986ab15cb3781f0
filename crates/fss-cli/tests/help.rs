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
      learn    Teach a model new classes from a handful of annotated images
      eval     Measure a model on the novel classes of a fold
      merge    Put together what several processes measured with `fss eval --shard`
      mine     Label training images with latent classes, before MLC's full method is trained
      train    Train a model by a recipe
      cam      Show where CLIP sees named things in images, as coarse maps
      data     Make and check data sets
      weights  Look into weight files and convert them
      help     Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Global options:
          --device <DEVICE>  Where to compute: cpu, cuda[:N], vulkan[:N] or wgpu[:N]; train and eval: several, by commas [default: cpu]
          --threads <N>      How many CPU threads to use [default: all cores]
      -v, --verbose...       Say more; twice for everything
      -q, --quiet            Say nothing but warnings and errors, and show no progress
    ");
}

#[test]
fn predict() {
    insta::assert_snapshot!(help("predict -h"), @r#"
    Segment images after a few annotated examples

    Usage: fss predict [OPTIONS] --query <FILE|DIR> --out <DIR> --weights <FILE>

    Options:
          --support <[NAME=]IMG:MASK>  An annotated example: the image and its mask, joined by a colon (with --text the image alone); repeat for more examples; NAME=IMG:MASK for examples of several classes
          --support-set <PATH>         Examples from a data set: class folders, a CSV table, COCO JSON or a folder of LabelMe files
          --class <ID|NAME>            Of --support: the label in the masks that is the object [default: every value but 0 and 255]; of --support-set: the name of the class; repeat it for several classes at once
          --shots <K>                  How many examples to take of --support-set: those with the largest objects [default: all]
          --query <FILE|DIR>           An image, or a folder of images (its sub-folders are not searched)
          --out <DIR>                  The folder for the results; it is made if it is not there
          --save <LIST>                What to write for each query [default: mask,overlay] [possible values: mask, overlay, logits]
          --max-side <PIXELS>          Shrink larger images to this longest side for the network; results keep the image's size [default: 1500]
          --skip-done                  Leave out queries whose results are all there already
      -h, --help                       Print help (see more with '--help')

    Own data:
          --images <DIR>          The folder that the image names of annotations start from [default: looked for beside them]
          --mask-value <VALUE>    What is foreground in mask files: nonzero, a grey value or palette index, or a #rrggbb colour [default: nonzero]
          --ignore-value <VALUE>  The value in mask files that is neither foreground nor background, often 255
          --skip-bad              Leave out entries that cannot be used, and list them

    Text (imr):
          --text <TEXT>      What to look for, as in "a dog"; examples then need no masks
          --clip <FILE>      CLIP's weights: OpenAI's RN50.pt, or its state dict
          --against <NAMES>  Other names that the text competes with in CLIP's eyes [default: the 80 classes of COCO]
          --whole-image      Show CLIP the whole image, squeezed, instead of its centre, as published

    Model:
          --model <MODEL>        The method [default: what the weights say, else ssp] [possible values: ssp, mlc, hsnet, imr, denet, amp, canet, pgnet, pop, pspnet]
          --backbone <NAME>      The backbone that the weights were trained with [default: what their shapes show] [possible values: resnet18, resnet34, resnet50, resnet101, resnet152, vgg16]
          --width <N>            Channels of the backbone's first stage [default: what the weights say; 64 is published]
          --refine               SSP: run the self-support step a second time, as the published tables do
          --unmasked             HSNet: leave the features of supports unmasked, for weights of the paper's ablation without it
          --stages <N>           IMR: how often query and support refine each other [default: what the weights say, else 3 for coco and 2]
          --weights <FILE>       A checkpoint of the whole model: .pth or .pt of the official code, .safetensors or .bpk
          --half                 Let the backbone compute in float16, or bfloat16, on a GPU that has it: sooner, with features rounded
          --output-stride <N>    POP, PSPNet: image pixels per position of the features: 8, 16 or 32 [default: what the weights say, else 8]
          --image-side <PIXELS>  POP, PSPNet: the side of the square that images are brought to [default: what the weights say, else 473]
          --names <LIST>         POP, PSPNet: names of the classes, base first [default: what the weights say, else numbers]

    Global options:
          --device <DEVICE>  Where to compute: cpu, cuda[:N], vulkan[:N] or wgpu[:N]; train and eval: several, by commas [default: cpu]
          --threads <N>      How many CPU threads to use [default: all cores]
      -v, --verbose...       Say more; twice for everything
      -q, --quiet            Say nothing but warnings and errors, and show no progress
    "#);
}

#[test]
fn eval() {
    insta::assert_snapshot!(help("eval -h"), @r"
    Measure a model on the novel classes of a fold

    Usage: fss eval [OPTIONS] --weights <FILE> --data-root <DIR>

    Options:
          --json <FILE>      Write scores and drawn episodes to this file; equal evaluations give equal files
          --shard <I/N>      Measure only the I-th of N equal shares, I from 0; `fss merge` puts the files of all of them together
          --save-panels <N>  Draw pictures of episodes of the first seed: the first N, the N with the best IoU, and the N with the worst
          --panels <DIR>     The folder for the pictures [default: panels]
      -h, --help             Print help (see more with '--help')

    Model:
          --model <MODEL>        The method [default: what the weights say, else ssp] [possible values: ssp, mlc, hsnet, imr, denet, amp, canet, pgnet, pop, pspnet]
          --backbone <NAME>      The backbone that the weights were trained with [default: what their shapes show] [possible values: resnet18, resnet34, resnet50, resnet101, resnet152, vgg16]
          --width <N>            Channels of the backbone's first stage [default: what the weights say; 64 is published]
          --refine               SSP: run the self-support step a second time, as the published tables do
          --unmasked             HSNet: leave the features of supports unmasked, for weights of the paper's ablation without it
          --stages <N>           IMR: how often query and support refine each other [default: what the weights say, else 3 for coco and 2]
          --weights <FILE>       A checkpoint of the whole model: .pth or .pt of the official code, .safetensors or .bpk
          --half                 Let the backbone compute in float16, or bfloat16, on a GPU that has it: sooner, with features rounded
          --output-stride <N>    POP, PSPNet: image pixels per position of the features: 8, 16 or 32 [default: what the weights say, else 8]
          --image-side <PIXELS>  POP, PSPNet: the side of the square that images are brought to [default: what the weights say, else 473]
          --names <LIST>         POP, PSPNet: names of the classes, base first [default: what the weights say, else numbers]

    Data:
          --data-root <DIR>  The folder of the data set (own: a folder or a file)
          --dataset <NAME>   What data set it is: pascal, coco, fss1000 or own [default: pascal]
          --splits <DIR>     A folder of published lists (`splits` of the HSNet code) [default: those in the tree, else they are built]
          --min-pixels <N>   The smallest object, in pixels, that can be a query or a support [default: 2048; lists of POP: 16384; fss1000, own, coco under hsnet: 1]

    Own data:
          --novel <NAMES>         Names of the novel classes [default: those that only the evaluation images show, else all]
          --val-root <PATH>       A second data set, to evaluate with; the first one is for training alone
          --images <DIR>          The folder that the image names of annotations start from [default: looked for beside them]
          --mask-value <VALUE>    What is foreground in mask files: nonzero, a grey value or palette index, or a #rrggbb colour [default: nonzero]
          --ignore-value <VALUE>  The value in mask files that is neither foreground nor background, often 255
          --skip-bad              Leave out entries that cannot be used, and list them

    Folds:
          --fold <N>                The fold whose classes are novel, 0 to 3 [fss1000, own: 0, the only one]
          --folds <SCHEME>          How classes are dealt to folds [default: as the protocol does; coco: contiguous under official, interleaved under hsnet] [possible values: contiguous, interleaved]
          --trained-folds <SCHEME>  How they were dealt when the model was trained, for weights that do not say [default: as the model was published; ssp and mlc: contiguous] [possible values: contiguous, interleaved]
          --allow-fold-mismatch     Measure a model even on classes that it was trained on; a warning stands beside the number

    Protocol:
          --protocol <PROTOCOL>  How episodes are drawn and scored [default: ssp and mlc: official; denet, amp, canet and pgnet: denet; all others: hsnet] [possible values: official, hsnet, denet]
          --original-size        hsnet: compare at the query's own size instead of 400 x 400
          --side <PIXELS>        hsnet, denet: side of the images [default: 400 and 321, as published, or what the weights say]
          --ways <N>             denet: classes of an episode [default: 1]
          --share <SHARE>        denet: from which share of an image on a class counts [default: pascal 0.02, coco 0.01]
          --unmirrored           denet: mirror no image; the published code mirrors each with probability one half
          --disjoint             denet: let no image occur twice in an episode; the published code allows it
          --ignore-border        denet: leave out undecided pixels (255), which are background in the published code
          --batch <N>            denet: episodes that are segmented together, which amp's scores depend on [default: 20]

    Episodes:
          --shot <K>          Supports of an episode [default: 1]
          --seeds <LIST>      One run for each of these seeds [default: official 0,1,2,3,4; hsnet 0; denet 1234]
          --episodes <N>      Episodes of each run [default: 1000; official coco 4000; hsnet fss1000 one for each image]
          --split <SPLIT>     The images to draw from: train, val or test [default: val; fss1000: test; denet: its own list of test images]
          --shot-rule <RULE>  What is made of several supports [default: as published for the model] [possible values: joint, vote]
          --upper-bound       Let each query with its true mask be its own support: what prototypes could reach at best

    Coarse maps (imr):
          --cams <DIR>             The folder of the coarse maps, as `fss cam` or the published code made them
          --clip <FILE>            CLIP's weights (RN50.pt): makes those maps that are missing in the folder
          --support-labels <WHAT>  What is known of a support: its class's name, as published, or its mask [possible values: text, masks]

    Features:
          --feature-cache <BYTES>  Memory for features [default: 2GiB]
          --spill <SPILL>          What happens to features that do not fit [default: ssp and mlc: disk, others: recompute] [possible values: disk, recompute]
          --no-reuse               Compute the features anew for every episode, as the published code does

    Generalized segmentation:
          --more-weights <FILES>  Weights of further seeds of the same run, for mean and deviation
          --python36-order        COCO: novel classes have the order of Python 3.6, as in weights of the published code

    Global options:
          --device <DEVICE>  Where to compute: cpu, cuda[:N], vulkan[:N] or wgpu[:N]; train and eval: several, by commas [default: cpu]
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
          --dataset <NAME>      What data set it is: pascal, coco, fss1000 or own [default: that of the recipe]
          --splits <DIR>        A folder of published lists [default: those in the tree, else they are built]
          --pretrained <FILE>   The backbone weights to start from
          --out <DIR>           The folder of the run
          --resume              Continue the run in OUT
          --list                List the built-in recipes and end
          --show                Print the recipe in force and end
          --amp                 Convolve in half precision where the device has it (`train.precision`)
      -h, --help                Print help (see more with '--help')

    Own data:
          --novel <NAMES>         Names of the novel classes [default: those that only the evaluation images show, else all]
          --val-root <PATH>       A second data set, to evaluate with; the first one is for training alone
          --images <DIR>          The folder that the image names of annotations start from [default: looked for beside them]
          --mask-value <VALUE>    What is foreground in mask files: nonzero, a grey value or palette index, or a #rrggbb colour [default: nonzero]
          --ignore-value <VALUE>  The value in mask files that is neither foreground nor background, often 255
          --skip-bad              Leave out entries that cannot be used, and list them

    Global options:
          --device <DEVICE>  Where to compute: cpu, cuda[:N], vulkan[:N] or wgpu[:N]; train and eval: several, by commas [default: cpu]
          --threads <N>      How many CPU threads to use [default: all cores]
      -v, --verbose...       Say more; twice for everything
      -q, --quiet            Say nothing but warnings and errors, and show no progress
    ");
}

#[test]
fn mine() {
    insta::assert_snapshot!(help("learn -h"), @r"
    Teach a model new classes from a handful of annotated images

    Usage: fss learn [OPTIONS] --support <PATH> --out <FILE> --weights <FILE>

    Options:
          --support <PATH>           Annotated images of the new classes: class folders, a CSV table, COCO JSON or a folder of LabelMe files
          --base <DIR>               A folder of images without annotations, best such as the model was trained on, that keep the new classes from spreading over old ones
          --out <FILE>               The file for the weights of the result
          --unlabelled <UNLABELLED>  What pixels without a label are in the annotated images [default: model] [possible values: model, background]
          --iterations <N>           Updates [default: 500]
          --rate <RATE>              Learning rate [default: 0.01]
          --views <N>                Views of each image (mirrored, at other scales) [default: 4]
          --seed <N>                 Seed of new prototypes and of the order of images [default: 123]
      -h, --help                     Print help (see more with '--help')

    Own data:
          --images <DIR>          The folder that the image names of annotations start from [default: looked for beside them]
          --mask-value <VALUE>    What is foreground in mask files: nonzero, a grey value or palette index, or a #rrggbb colour [default: nonzero]
          --ignore-value <VALUE>  The value in mask files that is neither foreground nor background, often 255
          --skip-bad              Leave out entries that cannot be used, and list them

    Model:
          --model <MODEL>        The method [default: what the weights say, else ssp] [possible values: ssp, mlc, hsnet, imr, denet, amp, canet, pgnet, pop, pspnet]
          --backbone <NAME>      The backbone that the weights were trained with [default: what their shapes show] [possible values: resnet18, resnet34, resnet50, resnet101, resnet152, vgg16]
          --width <N>            Channels of the backbone's first stage [default: what the weights say; 64 is published]
          --refine               SSP: run the self-support step a second time, as the published tables do
          --unmasked             HSNet: leave the features of supports unmasked, for weights of the paper's ablation without it
          --stages <N>           IMR: how often query and support refine each other [default: what the weights say, else 3 for coco and 2]
          --weights <FILE>       A checkpoint of the whole model: .pth or .pt of the official code, .safetensors or .bpk
          --half                 Let the backbone compute in float16, or bfloat16, on a GPU that has it: sooner, with features rounded
          --output-stride <N>    POP, PSPNet: image pixels per position of the features: 8, 16 or 32 [default: what the weights say, else 8]
          --image-side <PIXELS>  POP, PSPNet: the side of the square that images are brought to [default: what the weights say, else 473]
          --names <LIST>         POP, PSPNet: names of the classes, base first [default: what the weights say, else numbers]

    Global options:
          --device <DEVICE>  Where to compute: cpu, cuda[:N], vulkan[:N] or wgpu[:N]; train and eval: several, by commas [default: cpu]
          --threads <N>      How many CPU threads to use [default: all cores]
      -v, --verbose...       Say more; twice for everything
      -q, --quiet            Say nothing but warnings and errors, and show no progress
    ");
    insta::assert_snapshot!(help("data lists -h"), @r"
    Write the lists of generalized segmentation (POP) in their official format

    Usage: fss data lists [OPTIONS] --out <DIR> --data-root <DIR>

    Options:
          --fold <N>        The fold, or several, whose classes are novel [default: 0]
          --shot <K>        Images a novel class [default: 1,5,10]
          --seed <S>        Seeds [default: 123]
          --filter-novel    Keep images that show a novel class from the lists of base classes
          --python36-order  Order COCO's novel classes as Python 3.6 did, for lists of the published code
          --out <DIR>       Where the lists are made
      -h, --help            Print help (see more with '--help')

    Data:
          --data-root <DIR>  The folder of the data set (own: a folder or a file)
          --dataset <NAME>   What data set it is: pascal, coco, fss1000 or own [default: pascal]
          --splits <DIR>     A folder of published lists (`splits` of the HSNet code) [default: those in the tree, else they are built]
          --min-pixels <N>   The smallest object, in pixels, that can be a query or a support [default: 2048; lists of POP: 16384; fss1000, own, coco under hsnet: 1]

    Own data:
          --novel <NAMES>         Names of the novel classes [default: those that only the evaluation images show, else all]
          --val-root <PATH>       A second data set, to evaluate with; the first one is for training alone
          --images <DIR>          The folder that the image names of annotations start from [default: looked for beside them]
          --mask-value <VALUE>    What is foreground in mask files: nonzero, a grey value or palette index, or a #rrggbb colour [default: nonzero]
          --ignore-value <VALUE>  The value in mask files that is neither foreground nor background, often 255
          --skip-bad              Leave out entries that cannot be used, and list them

    Global options:
          --device <DEVICE>  Where to compute: cpu, cuda[:N], vulkan[:N] or wgpu[:N]; train and eval: several, by commas [default: cpu]
          --threads <N>      How many CPU threads to use [default: all cores]
      -v, --verbose...       Say more; twice for everything
      -q, --quiet            Say nothing but warnings and errors, and show no progress
    ");
    insta::assert_snapshot!(help("mine -h"), @r"
    Label training images with latent classes, before MLC's full method is trained

    Usage: fss mine [OPTIONS] --recipe <NAME|FILE> --data-root <DIR>

    Options:
          --recipe <NAME|FILE>  A built-in recipe with a mining branch, such as mlc-full-pascal, or a TOML file
          --set <KEY=VALUE>     Change a value of the recipe, as in --set model.mining.labels.clusters=100; repeat for more
          --data-root <DIR>     The folder of the data set
          --pretrained <FILE>   The backbone weights that training will start from
          --extra <DIR>         A folder of further images, without annotation, to be labelled and trained on as well
          --out <DIR>           Where latent classes and masks go [default: what the recipe's model.mining.masks names]
      -h, --help                Print help (see more with '--help')

    Global options:
          --device <DEVICE>  Where to compute: cpu, cuda[:N], vulkan[:N] or wgpu[:N]; train and eval: several, by commas [default: cpu]
          --threads <N>      How many CPU threads to use [default: all cores]
      -v, --verbose...       Say more; twice for everything
      -q, --quiet            Say nothing but warnings and errors, and show no progress
    ");
}

#[test]
fn cam() {
    insta::assert_snapshot!(help("cam -h"), @r#"
    Show where CLIP sees named things in images, as coarse maps

    Usage: fss cam [OPTIONS] --clip <FILE> --out <DIR>

    Options:
          --clip <FILE>      CLIP's weights: OpenAI's RN50.pt, or its state dict
          --out <DIR>        The folder for the maps; it is made if it is not there
          --view <VIEW>      What CLIP sees of an image: the square in its middle, as published, or all of it, squeezed [default: centre-crop] [possible values: centre-crop, whole-image]
          --target <WHAT>    What a map explains [default: probability] [possible values: probability, score]
          --long-text <HOW>  What happens to texts that are longer than CLIP reads [default: truncate] [possible values: refuse, truncate]
          --skip-bad         Go on after images that cannot be read, and list them (of data sets: own alone)
      -h, --help             Print help (see more with '--help')

    Texts:
          --text <TEXT>        What to look for, as in "a dog"; repeat for more, each of which is looked for on its own
          --images <FILE|DIR>  An image, or a folder of images (its sub-folders are not searched); of --dataset own, the folder that the image names of annotations start from
          --against <NAMES>    Names that each text competes with, separated by commas [default: the 80 classes of COCO]
          --save <LIST>        What to write for each image and text [default: map,heat] [possible values: map, heat]

    A whole data set:
          --data-root <DIR>       The folder of a data set whose classes are looked for (own: a folder or a file)
          --dataset <NAME>        What data set it is: pascal, coco, fss1000 or own [default: pascal]
          --split <LIST>          The images to look into: train, val or test [default: all that there are]
          --splits <DIR>          A folder of published lists (`splits` of the HSNet code), whose pairs of image and class are taken as well [default: those in the tree]
          --min-pixels <N>        The smallest object, in pixels, for which an image counts for a class [default: pascal 2048, as published; others 1]
          --val-root <PATH>       Own data: a second data set, to evaluate with
          --mask-value <VALUE>    Own data: what is foreground in mask files: nonzero, a grey value or palette index, or a #rrggbb colour [default: nonzero]
          --ignore-value <VALUE>  Own data: the value in mask files that is neither foreground nor background, often 255

    Global options:
          --device <DEVICE>  Where to compute: cpu, cuda[:N], vulkan[:N] or wgpu[:N]; train and eval: several, by commas [default: cpu]
          --threads <N>      How many CPU threads to use [default: all cores]
      -v, --verbose...       Say more; twice for everything
      -q, --quiet            Say nothing but warnings and errors, and show no progress
    "#);
}

#[test]
fn data_generate() {
    insta::assert_snapshot!(help("data generate -h"), @r"
    Draw a data set of textured shapes

    Usage: fss data generate [OPTIONS] --out <DIR>

    Options:
          --out <DIR>           The new folder
          --layout <LAYOUT>     How files and annotations lie in it [default: pascal] [possible values: pascal, coco, fss1000]
          --images <N>          Images of the training list [default: 300; coco: 600]
          --val-images <N>      Images of the validation list [default: half of --images; coco: two thirds]
          --categories <N,N,N>  fss1000: categories for training, validation and testing, ten images each [default: 60,15,25]
          --seed <N>            Seed of everything that is drawn [default: 0]
          --size <N|MIN..MAX>   Width and height in pixels: one number, or the range they are drawn from [default: 96..128; fss1000: 112]
      -h, --help                Print help (see more with '--help')

    Global options:
          --device <DEVICE>  Where to compute: cpu, cuda[:N], vulkan[:N] or wgpu[:N]; train and eval: several, by commas [default: cpu]
          --threads <N>      How many CPU threads to use [default: all cores]
      -v, --verbose...       Say more; twice for everything
      -q, --quiet            Say nothing but warnings and errors, and show no progress
    ");
}

#[test]
fn prepare() {
    insta::assert_snapshot!(help("data prepare -h"), @r"
    Make masks and lists from the official archives, as unpacked

    Usage: fss data prepare [OPTIONS] <COMMAND>

    Commands:
      pascal   PASCAL-5i, from VOC 2012 (VOCtrainval_11-May-2012.tar) and SBD (benchmark.tgz)
      coco     COCO-20i, from MS COCO (train2014.zip, val2014.zip, annotations_trainval2014.zip)
      fss1000  FSS-1000, from its archive (a folder of 1,000 categories)
      help     Print this message or the help of the given subcommand(s)

    Options:
      -h, --help  Print help (see more with '--help')

    Global options:
          --device <DEVICE>  Where to compute: cpu, cuda[:N], vulkan[:N] or wgpu[:N]; train and eval: several, by commas [default: cpu]
          --threads <N>      How many CPU threads to use [default: all cores]
      -v, --verbose...       Say more; twice for everything
      -q, --quiet            Say nothing but warnings and errors, and show no progress
    ");
    insta::assert_snapshot!(help("data prepare coco -h"), @r"
    COCO-20i, from MS COCO (train2014.zip, val2014.zip, annotations_trainval2014.zip)

    Usage: fss data prepare coco [OPTIONS] --from <DIR> --out <DIR>

    Options:
          --from <DIR>           Where the archives were unpacked; repeat if they lie in different places
          --out <DIR>            Where the data sets are made
          --images <IMAGES>      What becomes of the images [default: link] [possible values: link, copy, skip]
          --skip-bad             Leave out what is missing or damaged, and list it
          --year <YEAR>          The release; published results are those of 2014 [default: 2014] [possible values: 2014, 2017]
          --crowds <CROWDS>      What becomes of crowds [default: leave] [possible values: leave, paint, ignore]
          --outlines <OUTLINES>  Which pixels the outline of an object covers; masks of the two differ along borders [default: coco-api] [possible values: coco-api, opencv]
      -h, --help                 Print help (see more with '--help')

    Global options:
          --device <DEVICE>  Where to compute: cpu, cuda[:N], vulkan[:N] or wgpu[:N]; train and eval: several, by commas [default: cpu]
          --threads <N>      How many CPU threads to use [default: all cores]
      -v, --verbose...       Say more; twice for everything
      -q, --quiet            Say nothing but warnings and errors, and show no progress
    ");
}

#[test]
fn merge() {
    insta::assert_snapshot!(help("merge -h"), @r"
    Put together what several processes measured with `fss eval --shard`

    Usage: fss merge [OPTIONS] <FILES>...

    Arguments:
      <FILES>...  The files that `fss eval --shard I/N --json FILE` wrote, all N of them, in any order

    Options:
          --json <FILE>  Write the merged scores to this file
      -h, --help         Print help (see more with '--help')

    Global options:
          --device <DEVICE>  Where to compute: cpu, cuda[:N], vulkan[:N] or wgpu[:N]; train and eval: several, by commas [default: cpu]
          --threads <N>      How many CPU threads to use [default: all cores]
      -v, --verbose...       Say more; twice for everything
      -q, --quiet            Say nothing but warnings and errors, and show no progress
    ");
}
