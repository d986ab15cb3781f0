//! Weight files into a CLIP: every format, and files that are something else.

#[path = "common/clip.rs"]
mod clip_support;
mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use clip_support::{clip_entries, filled_clip, small};
use common::{device, images, values};
use fss_backbone::clip::{Clip, load_clip};
use fss_backbone::{FileFormat, NamedTensor, inspect_weights, module_tensors};
use fss_support::golden::assert_close_rel_max;
use fss_support::pth::{Entry, Precision, write_legacy_pth, write_pth, write_torchscript};

const SCALARS: [(&str, i64); 3] =
    [("input_resolution", 64), ("context_length", 77), ("vocab_size", 49408)];

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn entries() -> Vec<Entry> {
    clip_entries(&small().init(&device(), 0))
}

fn features(clip: &Clip) -> Vec<f32> {
    let image: Tensor<4> = images("image", [1, 3, 64, 64], &device());
    let mut all = values(clip.encode_image(image).unwrap());
    all.extend(values(clip.encode_text(&[vec![49406, 1929, 49407]]).unwrap()));
    all
}

fn error(path: &Path) -> String {
    load_clip(path, &device()).unwrap_err().to_string()
}

#[test]
fn every_format_gives_the_same_network() {
    let (folder, entries) = (Folder::new(), entries());
    let expected = features(&filled_clip(small(), &device()));
    let zip = folder.file("zip.pt");
    write_pth(&zip, &entries);
    let legacy = folder.file("legacy.pth");
    write_legacy_pth(&legacy, &entries);
    let script = folder.file("script.pt");
    write_torchscript(&script, &entries, &SCALARS, Precision::Single);
    let safetensors = folder.file("clip.safetensors");
    let tensors: Vec<NamedTensor> = module_tensors(&filled_clip(small(), &device())).unwrap();
    fss_backbone::weights::write_safetensors(&safetensors, &tensors, &BTreeMap::new()).unwrap();
    for (path, format) in [
        (zip, FileFormat::PytorchZip),
        (legacy, FileFormat::PytorchLegacy),
        (script, FileFormat::TorchScript),
        (safetensors, FileFormat::Safetensors),
    ] {
        let (clip, report) = load_clip(&path, &device()).unwrap();
        assert_eq!((report.format, report.loaded), (format, tensors.len()));
        assert_eq!(report.converted, 0);
        assert_eq!(*clip.config(), small());
        assert_eq!(features(&clip), expected, "{format}");
    }
}

#[test]
fn half_precision_archives_become_single_precision() {
    let (folder, entries) = (Folder::new(), entries());
    let path = folder.file("RN50.pt");
    write_torchscript(&path, &entries, &SCALARS, Precision::Half);
    let (clip, report) = load_clip(&path, &device()).unwrap();
    assert_eq!(report.converted, report.loaded);
    let ignored: Vec<&str> = report.ignored.iter().map(String::as_str).collect();
    assert_eq!(ignored, ["context_length", "input_resolution", "logit_scale", "vocab_size"]);
    for tensor in module_tensors(&clip).unwrap() {
        let (_, _, values) = entries.iter().find(|entry| entry.0 == tensor.key).unwrap();
        let rounded: Vec<f32> = values.iter().map(|v| half::f16::from_f32(*v).to_f32()).collect();
        assert_eq!(tensor.values, rounded, "{}", tensor.key);
    }
    let expected = features(&filled_clip(small(), &device()));
    assert_close_rel_max("features", &features(&clip), &expected, 2e-2);
}

#[test]
fn batch_counters_are_optional_and_other_keys_are_not() {
    let folder = Folder::new();
    let write = |name: &str, entries: &[Entry]| {
        let path = folder.file(name);
        write_torchscript(&path, entries, &SCALARS, Precision::Single);
        path
    };
    let mut fewer = entries();
    fewer.retain(|(key, _, _)| !key.ends_with("num_batches_tracked") && key != "logit_scale");
    assert!(load_clip(&write("fewer.pt", &fewer), &device()).is_ok());

    let mut without = fewer.clone();
    without.retain(|(key, _, _)| key != "visual.layer2.1.bn2.bias" && key != "ln_final.weight");
    let message = error(&write("without.pt", &without));
    assert!(message.contains("missing keys: 2"), "{message}");
    assert!(message.contains("visual.layer2.1.bn2.bias"), "{message}");
    assert!(message.contains("ln_final.weight"), "{message}");

    let mut further = fewer.clone();
    further.push(("visual.proj".to_owned(), vec![1], vec![0.0]));
    let message = error(&write("further.pt", &further));
    assert!(message.contains("unused keys: 1 (visual.proj)"), "{message}");

    let mut broken = fewer.clone();
    let at = broken.iter().position(|(key, _, _)| key == "text_projection").unwrap();
    broken[at].2[5] = f32::NAN;
    let message = error(&write("nan.pt", &broken));
    assert!(message.contains("text_projection") && message.contains("NaN"), "{message}");

    let mut odd = fewer;
    let at = odd.iter().position(|(key, _, _)| key == "visual.attnpool.positional_embedding");
    let (_, shape, numbers) = &mut odd[at.unwrap()];
    shape[0] -= 1;
    numbers.truncate(shape.iter().product());
    let message = error(&write("odd.pt", &odd));
    assert!(message.contains("make no square"), "{message}");
}

#[test]
fn other_networks_are_named() {
    let folder = Folder::new();
    let entry = |key: &str, shape: &[usize]| -> Entry {
        (key.to_owned(), shape.to_vec(), vec![0.5; shape.iter().product()])
    };
    let vit = vec![
        entry("visual.class_embedding", &[8]),
        entry("visual.conv1.weight", &[8, 3, 4, 4]),
        entry("visual.transformer.resblocks.0.ln_1.weight", &[8]),
        entry("text_projection", &[8, 8]),
    ];
    let classifier = vec![
        entry("conv1.weight", &[64, 3, 7, 7]),
        entry("layer1.0.conv1.weight", &[4, 4, 1, 1]),
        entry("fc.weight", &[10, 4]),
    ];
    let hsnet = vec![
        entry("module.backbone.conv1.weight", &[64, 3, 7, 7]),
        entry("module.hpn_learner.decoder1.0.weight", &[4, 4, 3, 3]),
    ];
    let visual: Vec<Entry> =
        entries().into_iter().filter(|(key, _, _)| key.starts_with("visual.")).collect();
    for (name, tensors, words) in [
        ("vit.pt", vit, "vision transformer (ViT)"),
        ("resnet.pth", classifier, "7x7 stem"),
        ("hsnet.pt", hsnet, "HSNet"),
        ("unknown.pt", vec![entry("x.weight", &[2])], "no network known here"),
        ("visual.pt", visual, "text_projection"),
    ] {
        let path = folder.file(name);
        write_pth(&path, &tensors);
        let message = error(&path);
        assert!(message.contains(words), "{message}");
        assert!(message.contains("CLIP RN50"), "{message}");
        write_torchscript(&path, &tensors, &[], Precision::Half);
        let message = error(&path);
        assert!(message.contains(words), "as TorchScript: {message}");
    }
}

#[test]
fn damaged_archives_are_refused() {
    let folder = Folder::new();
    let path = folder.file("clip.pt");
    write_torchscript(&path, &entries(), &SCALARS, Precision::Half);
    let bytes = std::fs::read(&path).unwrap();
    for length in [bytes.len() / 2, bytes.len() - 30] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let message = error(&path);
        assert!(message.contains("truncated"), "{message}");
    }
    // A byte of a tensor: the archive's check sums notice.
    let mut flipped = bytes.clone();
    flipped[10_000] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    let message = error(&path);
    assert!(message.contains("TorchScript"), "{message}");
    // An opcode that runs code in Python: opening an old-style instance.
    let pickle = bytes.windows(9).position(|w| w == b"\x80\x02c__torc").unwrap();
    let mut hostile = bytes;
    hostile[pickle + 2] = b'i';
    std::fs::write(&path, &hostile).unwrap();
    let message = error(&path);
    assert!(message.contains("TorchScript"), "{message}");
}

#[test]
fn inspection_names_the_network() {
    let folder = Folder::new();
    let path = folder.file("clip.pt");
    write_torchscript(&path, &entries(), &SCALARS, Precision::Half);
    let summary = inspect_weights(&path).unwrap();
    assert_eq!(summary.format, FileFormat::TorchScript);
    assert!(
        summary.contents.starts_with("a CLIP with a ResNet of 1+2+1+1"),
        "{}",
        summary.contents
    );
    assert!(summary.tensors.iter().any(|t| t.key == "vocab_size" && t.dtype == "i64"));
    assert!(summary.tensors.iter().any(|t| t.key == "text_projection" && t.dtype == "f16"));
}
