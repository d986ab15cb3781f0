//! A scratch folder with small images, masks and weights, and the command run in it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use fss_core::backbone::clip::ClipConfig;
use fss_core::backbone::weights::write_safetensors;
use fss_core::backbone::{DeepStemResNetConfig, Depth, NamedTensor, module_tensors};
use fss_core::{Device, data};
use image::{Rgb, RgbImage};
use ndarray::Array2;

/// Width of the networks in these tests; the published one is 64.
pub const WIDTH: usize = 8;

/// A folder that the command is run in; it goes with the value.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// An empty one.
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// One with a support (`support.jpg`, `support.png`), two queries of different sizes in
    /// `queries/`, and weights of a narrow resnet50 (`weights.safetensors`).
    pub fn with_images() -> Self {
        let scratch = Self::new();
        scratch.support("support", [64, 56], 1);
        std::fs::create_dir(scratch.path("queries")).unwrap();
        scratch.image("queries/a.jpg", [64, 48], 2);
        scratch.image("queries/b.png", [41, 67], 3);
        scratch.weights("weights.safetensors", Depth::R50, WIDTH);
        scratch
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// An image of `[width, height]` with a bright disc on a patterned ground.
    pub fn image(&self, name: &str, [width, height]: [u32; 2], seed: u32) {
        let image = RgbImage::from_fn(width, height, |x, y| {
            let noise = (x * 7 + y * 13 + seed * 31) % 41;
            let [r, g, b] =
                if in_disc(x, y, width, height) { [220, 120, 40] } else { [30, 80, 110] };
            Rgb([r + noise as u8 / 2, g + noise as u8, b + noise as u8])
        });
        image.save(self.path(name)).unwrap();
    }

    /// The mask `[H, W]` of that disc under a label, with a line of ignored pixels at the top.
    pub fn mask(&self, name: &str, [width, height]: [u32; 2], label: u8) {
        let mask =
            Array2::from_shape_fn((height as usize, width as usize), |(y, x)| {
                match in_disc(x as u32, y as u32, width, height) {
                    _ if y == 0 => data::IGNORE_INDEX,
                    true => label,
                    false => 0,
                }
            });
        data::io::write_mask(&self.path(name), &mask).unwrap();
    }

    /// `<name>.jpg` with `<name>.png`.
    pub fn support(&self, name: &str, size: [u32; 2], label: u8) {
        self.image(&format!("{name}.jpg"), size, 1);
        self.mask(&format!("{name}.png"), size, label);
    }

    /// A mask filled with one value.
    pub fn flat_mask(&self, name: &str, [width, height]: [usize; 2], value: u8) {
        data::io::write_mask(&self.path(name), &Array2::from_elem((height, width), value)).unwrap();
    }

    /// Weights by the fill rule as safetensors.
    pub fn weights(&self, name: &str, depth: Depth, width: usize) {
        write_safetensors(&self.path(name), &filled(depth, width), &BTreeMap::new()).unwrap();
    }

    /// A small CLIP with random weights as safetensors.
    pub fn clip(&self, name: &str, seed: u64) {
        let sizes = ClipConfig {
            resolution: 96,
            width: 8,
            embedding: 32,
            text_width: 64,
            ..ClipConfig::rn50()
        };
        let clip = sizes.with_depth([1; 4], 1).init(&Device::default(), seed);
        let tensors = module_tensors(&clip).unwrap();
        write_safetensors(&self.path(name), &tensors, &BTreeMap::new()).unwrap();
    }

    /// `fss` with arguments separated by spaces, in this folder.
    pub fn fss(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fss"));
        command.current_dir(self.0.path()).args(arguments.split_whitespace());
        command.env_remove("FSS_LOG");
        command
    }

    /// As [`fails`](Self::fails) with arguments that hold spaces themselves.
    pub fn fails_with(&self, arguments: &[&str]) -> String {
        let output = self.fss("").args(arguments).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "fss {arguments:?}\n{message}");
        assert!(message.contains("error: "), "{message}");
        message
    }

    /// Starts `fss` in this folder, its standard error to be read.
    pub fn spawn(&self, arguments: &str) -> std::process::Child {
        std::process::Command::new(env!("CARGO_BIN_EXE_fss"))
            .current_dir(self.0.path())
            .args(arguments.split_whitespace())
            .env_remove("FSS_LOG")
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs `fss`, which must succeed, and gives back its standard output.
    pub fn ok(&self, arguments: &str) -> String {
        let output = self.fss(arguments).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "fss {arguments}: {}\n{message}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `fss`, which must fail with exit code 1, and gives back its standard error.
    pub fn fails(&self, arguments: &str) -> String {
        let output = self.fss(arguments).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "fss {arguments}\n{message}");
        assert!(message.contains("error: "), "{message}");
        message
    }

    /// The names of the files in a folder, hidden ones included, sorted; none if it is not there.
    pub fn names(&self, folder: &str) -> Vec<String> {
        names(&self.path(folder))
    }
}

/// Sends Ctrl-C to a process.
#[cfg(unix)]
pub fn interrupt(child: &std::process::Child) {
    let pid = child.id().to_string();
    let status = std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(status.success());
}

/// The names of the files in a folder, sorted; none if it is not there.
pub fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// All tensors of a backbone under the keys of SSP's checkpoints, with values by the fill rule.
pub fn filled(depth: Depth, width: usize) -> Vec<NamedTensor> {
    let network = DeepStemResNetConfig::new(depth).with_width(width).init(&Device::default(), 0);
    let mut tensors = network.named_tensors().unwrap();
    for tensor in &mut tensors {
        tensor.values = fss_support::fill(&tensor.key, &tensor.shape);
    }
    tensors
}

/// The same tensors as an official file has them, batch counters included.
pub fn official(depth: Depth, width: usize) -> Vec<fss_support::pth::Entry> {
    let mut entries = Vec::new();
    for tensor in filled(depth, width) {
        let counter =
            tensor.key.strip_suffix("running_var").map(|n| format!("{n}num_batches_tracked"));
        entries.push((tensor.key, tensor.shape, tensor.values));
        entries.extend(counter.map(|key| (key, vec![], vec![0.0])));
    }
    entries
}

fn in_disc(x: u32, y: u32, width: u32, height: u32) -> bool {
    let (dx, dy) =
        (2.0 * f64::from(x) / f64::from(width) - 0.9, 2.0 * f64::from(y) / f64::from(height) - 1.0);
    dx * dx + dy * dy < 0.3
}
