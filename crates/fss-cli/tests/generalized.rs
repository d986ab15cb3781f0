//! POP on the command line: training both stages, learning from one's own images, labelling all classes.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::Scratch;
use fss_core::Device;
use fss_core::backbone::{
    Depth, DilatedResNetConfig, NamedTensor, OfficialKeys, module_tensors, write_state_dict,
};
use fss_core::heads::{PopConfig, PspnetConfig};
use fss_support::pth::{Entry, write_pth};

fn network() -> DilatedResNetConfig {
    DilatedResNetConfig::new(Depth::R50).with_width(4)
}

fn filled<M: OfficialKeys>(module: &M) -> Vec<NamedTensor> {
    let tensors = module_tensors(module).unwrap().into_iter();
    tensors.map(|t| NamedTensor { values: fss_support::fill(&t.key, &t.shape), ..t }).collect()
}

/// A checkpoint as the official code writes it: `module.` in front, batch counters.
fn official(path: &Path, tensors: Vec<NamedTensor>) {
    let mut entries: Vec<Entry> = Vec::new();
    for NamedTensor { key, shape, values } in tensors {
        if let Some(norm) = key.strip_suffix("running_var") {
            entries.push((format!("module.{norm}num_batches_tracked"), vec![], vec![0.0]));
        }
        entries.push((format!("module.{key}"), shape, values));
    }
    write_pth(path, &entries);
}

fn pop(base: usize, novel: usize) -> Vec<NamedTensor> {
    filled(&PopConfig::new(network(), base).with_novel(novel).init(&Device::default(), 0))
}

/// Class folders with one annotated image each.
fn supports(scratch: &Scratch, folder: &str, classes: &[&str]) {
    for class in classes {
        for part in ["images", "masks"] {
            std::fs::create_dir_all(scratch.path(&format!("{folder}/{class}/{part}"))).unwrap();
        }
        scratch.image(&format!("{folder}/{class}/images/one.jpg"), [64, 56], 4);
        scratch.flat_mask(&format!("{folder}/{class}/masks/one.png"), [64, 56], 1);
    }
}

#[test]
fn every_class_is_labelled_in_one_pass_from_an_official_checkpoint() {
    let scratch = Scratch::with_images();
    official(&scratch.path("pop.pth"), pop(3, 2));
    let run = "predict --weights pop.pth --query queries --image-side 64";
    let shown = scratch.ok(&format!("{run} --out out --names cat,dog,cow,gnu,elk"));
    assert!(shown.contains("a.jpg: ") && shown.contains("b.png: "), "{shown}");
    let names = ["a.mask.png", "a.overlay.png", "b.mask.png", "b.overlay.png", "legend.json"];
    assert_eq!(scratch.names("out"), names);
    let mask = image::open(scratch.path("out/b.mask.png")).unwrap();
    assert_eq!((mask.width(), mask.height()), (41, 67));
    let legend: serde_json::Value =
        serde_json::from_slice(&std::fs::read(scratch.path("out/legend.json")).unwrap()).unwrap();
    assert_eq!(legend[5]["name"], "elk");
    assert_eq!(legend[5]["kind"], "novel");
    assert_eq!(legend[3]["kind"], "base");

    let message = scratch.fails(&format!("{run} --out no --names cat"));
    assert!(message.contains("3 base and 2 novel"), "{message}");
    let message = scratch.fails(&format!("{run} --out no --support support.jpg:support.png"));
    assert!(message.contains("fss learn"), "{message}");
    let message = scratch.fails(&format!("{run} --out no --model ssp"));
    assert!(message.contains("--image-side"), "{message}");
    let message = scratch.fails(&format!("{run} --out no --backbone resnet18"));
    assert!(message.contains("resnet101"), "{message}");
    let message = scratch.fails("predict --weights weights.safetensors --query queries --out no");
    assert!(message.contains("no example"), "{message}");
    let message =
        scratch.fails("predict --model pop --weights weights.safetensors --query queries --out no");
    assert!(message.contains("pop"), "{message}");
    let shown = scratch.ok("weights inspect pop.pth");
    assert!(shown.contains("POP, stage 2") && shown.contains("3 base and 2 novel"), "{shown}");
}

#[test]
fn the_baseline_labels_as_well() {
    let scratch = Scratch::with_images();
    let model = PspnetConfig::new(network(), 3).init(&Device::default(), 0);
    official(&scratch.path("pspnet.pth"), filled(&model));
    scratch.ok("predict --weights pspnet.pth --query queries --image-side 64 --out out");
    assert_eq!(scratch.names("out").len(), 5);
    let message = scratch.fails("learn --weights pspnet.pth --support s --out m.safetensors");
    assert!(message.contains("baseline"), "{message}");
}

#[test]
fn new_classes_are_learnt_and_then_labelled() {
    let scratch = Scratch::with_images();
    let metadata =
        BTreeMap::from([("fss.classes".to_owned(), "[\"cat\",\"dog\",\"cow\"]".to_owned())]);
    write_state_dict(&scratch.path("base.safetensors"), &pop(3, 0), &metadata).unwrap();
    supports(&scratch, "new", &["gnu", "elk"]);
    let run = "learn --weights base.safetensors --support new --image-side 64 --iterations 3";
    let shown = scratch.ok(&format!("{run} --base queries --out model/learnt.safetensors"));
    assert!(shown.contains("elk, gnu learnt from 2 images"), "{shown}");
    let shown = scratch.ok("predict --weights model/learnt.safetensors --query queries --out out");
    assert!(shown.contains('%'), "{shown}");
    let legend = std::fs::read_to_string(scratch.path("out/legend.json")).unwrap();
    for name in ["cat", "dog", "cow", "elk", "gnu"] {
        assert!(legend.contains(name), "{legend}");
    }
    // The same command gives the same file; without base images it warns.
    scratch.ok(&format!("{run} --base queries --out again.safetensors"));
    let read = |name: &str| std::fs::read(scratch.path(name)).unwrap();
    assert!(read("model/learnt.safetensors") == read("again.safetensors"));

    let message =
        scratch.fails("learn --weights again.safetensors --support new --out m.safetensors");
    assert!(message.contains("stage 2") && message.contains("stage 1"), "{message}");
    supports(&scratch, "old", &["dog", "yak"]);
    let old = "learn --weights base.safetensors --support old --image-side 64 --iterations 1";
    let message = scratch.fails(&format!("{old} --out m.safetensors"));
    assert!(message.contains("dog is a base class"), "{message}");
    supports(&scratch, "blank", &["yak"]);
    scratch.flat_mask("blank/yak/masks/one.png", [64, 56], 0);
    let blank = old.replace("--support old", "--support blank");
    let message = scratch.fails(&format!("{blank} --out m.safetensors"));
    assert!(message.contains("one.") && message.contains("no"), "{message}");
    let message = scratch.fails(&format!("{run} --rate 0 --out m.safetensors"));
    assert!(message.contains("rate is 0"), "{message}");
    std::fs::write(scratch.path("m.safetensors.unfinished"), b"nonsense").unwrap();
    let message = scratch.fails(&format!("{run} --out m.safetensors"));
    assert!(message.contains("m.safetensors.unfinished"), "{message}");
    assert!(!scratch.path("m.safetensors").exists());
}

#[test]
fn both_stages_train_and_are_measured() {
    let scratch = Scratch::new();
    scratch.ok("data generate --out data --images 80 --val-images 6 --size 40..48");
    let small = "--set backbone.width=2 --set samples.crop=33 --set samples.side=33 \
                 --set data.min_pixels=20 --set data.shot=1 --set samples.epochs=1";
    let base = "train --recipe pop-synthetic-base --data-root data --out first";
    let shown = scratch.ok(&format!("{base} {small} --amp"));
    assert!(shown.contains("background") && shown.contains("base"), "{shown}");
    let novel = "train --recipe pop-synthetic-novel --data-root data";
    let message = scratch.fails(&format!("{novel} --out lost {small}"));
    assert!(message.contains("--pretrained"), "{message}");
    let start = "--pretrained first/best.safetensors --set samples.seeds=[1,2]";
    let shown = scratch.ok(&format!("{novel} --out novel {start} {small}"));
    assert!(shown.contains("harmonic") && shown.contains("deviation"), "{shown}");
    let best = "novel/best_1.safetensors";
    let eval = format!("eval --weights {best} --data-root data");
    let again =
        scratch.ok(&format!("{eval} --more-weights novel/best_2.safetensors --json e.json"));
    let rows = |text: &str| -> Vec<String> {
        let wanted = |line: &&str| line.starts_with('1') || line.starts_with("mean");
        text.lines().filter(wanted).map(str::to_owned).collect()
    };
    assert_eq!(rows(&again), rows(&shown));
    let json = std::fs::read_to_string(scratch.path("e.json")).unwrap();
    assert!(json.contains("\"harmonic\"") && json.contains("\"spread\""), "{json}");
    // Shares of it, one of them on two devices, come to the same.
    let both = format!("{eval} --more-weights novel/best_2.safetensors");
    scratch.ok(&format!("{both} --shard 0/2 --json part-0.json"));
    scratch.ok(&format!("--device cpu,cpu {both} --shard 1/2 --json part-1.json"));
    let message = scratch.fails("merge part-1.json");
    assert!(message.contains("missing: 0/2"), "{message}");
    scratch.ok("merge part-1.json part-0.json --json merged.json");
    assert_eq!(std::fs::read_to_string(scratch.path("merged.json")).unwrap(), json);
    let message = scratch.fails(&format!("{eval} --fold 1"));
    assert!(message.contains("other classes"), "{message}");
    let message = scratch.fails(&format!("{novel} --out again --pretrained {best} {small}"));
    assert!(message.contains("stage 2") && message.contains("stage 1"), "{message}");

    let shown =
        scratch.ok("data lists --data-root data --min-pixels 20 --shot 1 --seed 1,2 --out lists");
    assert!(shown.contains("fold0_1shot_seed2.txt"), "{shown}");
    let list = std::fs::read_to_string(scratch.path("lists/fold0/fold0_1shot_seed1.txt")).unwrap();
    assert_eq!(list.lines().count(), 5);
    let message =
        scratch.fails("data lists --data-root data --min-pixels 9999999 --shot 1 --out none");
    assert!(message.contains("class 1"), "{message}");
    let shown = scratch.ok("train --list");
    assert!(shown.contains("pop-pascal-novel") && shown.contains("ssp-pascal"), "{shown}");
    let shown = scratch.ok("train --recipe pop-coco-base --show");
    assert!(shown.contains("precision = \"mixed\""), "{shown}");
    for recipe in ["ssp-synthetic", "hsnet-pascal", "denet-coco"] {
        let shown = scratch.ok(&format!("train --recipe {recipe} --show"));
        assert!(!shown.contains("precision"), "{shown}");
        let shown = scratch.ok(&format!("train --recipe {recipe} --show --amp"));
        assert!(shown.contains("precision = \"mixed\""), "{shown}");
        let set = format!("train --recipe {recipe} --show --set train.precision");
        assert_eq!(scratch.ok(&format!("{set}=mixed")), shown);
        let message = scratch.fails(&format!("{set}=half"));
        assert!(message.contains("`half`") && message.contains("`mixed`"), "{message}");
    }
}
