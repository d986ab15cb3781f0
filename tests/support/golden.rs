//! Golden cases: inputs and outputs of the official code, found by kind and read by name.
//!
//! The folder is `$FSS_GOLDEN_DIR` if set, else the project's own `tests/golden`. A case's kind is
//! the longest prefix of its file name in [`KINDS`]; everything else comes from the file itself.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// A kind of golden case: files of `system` whose names start with `prefix`.
pub struct Kind {
    /// The folder below the golden directory.
    pub system: &'static str,
    /// How the file names of this kind start.
    pub prefix: &'static str,
    /// The crate whose golden tests run it.
    pub owner: &'static str,
}

const fn kind(system: &'static str, prefix: &'static str, owner: &'static str) -> Kind {
    Kind { system, prefix, owner }
}

/// All kinds that some golden test runs.
pub const KINDS: &[Kind] = &[
    kind("common", "adam", "fss-train"),
    kind("common", "cosine_similarity", "fss-kernels"),
    kind("common", "cross_entropy", "fss-heads"),
    kind("common", "interpolate_bilinear", "fss-kernels"),
    kind("common", "interpolate_nearest", "fss-kernels"),
    kind("common", "masked_average_pooling", "fss-kernels"),
    kind("common", "normalize", "fss-data"),
    kind("common", "pillow_resize", "fss-data"),
    kind("common", "poly_lr", "fss-train"),
    kind("common", "pool_norm_conv", "fss-kernels"),
    kind("common", "rng", "fss-data"),
    kind("common", "sgd", "fss-train"),
    kind("denet", "amp_", "fss-heads"),
    kind("denet", "amp_proxies", "fss-heads"),
    kind("denet", "backbone_", "fss-backbone"),
    kind("denet", "binary_logits", "fss-heads"),
    kind("denet", "can_", "fss-heads"),
    kind("denet", "can_head_", "fss-heads"),
    kind("denet", "deeplab_head", "fss-heads"),
    kind("denet", "denet_", "fss-heads"),
    kind("denet", "episodes_", "fss-data"),
    kind("denet", "estimator_", "fss-heads"),
    kind("denet", "gau_", "fss-heads"),
    kind("denet", "losses", "fss-heads"),
    kind("denet", "map_gam", "fss-heads"),
    kind("denet", "metric_binary_iou", "fss-metrics"),
    kind("denet", "metric_full_iou", "fss-metrics"),
    kind("denet", "pgn_", "fss-heads"),
    kind("denet", "pgn_head_", "fss-heads"),
    kind("denet", "process_nway_", "fss-heads"),
    kind("denet", "protocol_", "fss-metrics"),
    kind("denet", "rng", "fss-data"),
    kind("denet", "train_amp_", "fss-heads"),
    kind("denet", "train_can_", "fss-heads"),
    kind("denet", "train_denet_", "fss-heads"),
    kind("denet", "train_pgn_", "fss-heads"),
    kind("denet", "transforms", "fss-data"),
    kind("denet", "visualisation", "fss-data"),
    kind("hsnet", "conv4d", "fss-kernels"),
    kind("hsnet", "correlation", "fss-kernels"),
    kind("hsnet", "data_coco", "fss-data"),
    kind("hsnet", "data_fss", "fss-data"),
    kind("hsnet", "data_pascal", "fss-data"),
    kind("hsnet", "episodes_coco_", "fss-data"),
    kind("hsnet", "episodes_fss_", "fss-data"),
    kind("hsnet", "episodes_pascal_", "fss-data"),
    kind("hsnet", "episodes_toy_", "fss-data"),
    kind("hsnet", "features_", "fss-backbone"),
    kind("hsnet", "head_", "fss-heads"),
    kind("hsnet", "mask_feature", "fss-kernels"),
    kind("hsnet", "metric_", "fss-metrics"),
    kind("hsnet", "model_", "fss-heads"),
    kind("hsnet", "nearest_index", "fss-data"),
    kind("hsnet", "rng_numpy", "fss-data"),
    kind("hsnet", "squeeze_", "fss-kernels"),
    kind("hsnet", "train_", "fss-train"),
    kind("hsnet", "transform", "fss-data"),
    kind("hsnet", "vote", "fss-metrics"),
    kind("imr", "cam_e2e", "fss-core"),
    kind("imr", "cam_file", "fss-data"),
    kind("imr", "cam_postprocess", "fss-data"),
    kind("imr", "cell_", "fss-heads"),
    kind("imr", "clip_preprocess", "fss-data"),
    kind("imr", "full_", "fss-heads"),
    kind("imr", "small_", "fss-heads"),
    kind("imr", "train_", "fss-train"),
    kind("imr", "clip_", "fss-backbone"),
    kind("imr", "clip_preprocess", "fss-data"),
    kind("imr", "tokenizer", "fss-backbone"),
    kind("mlc", "head_", "fss-heads"),
    kind("mlc", "masked_average_pooling", "fss-kernels"),
    kind("mlc", "model_", "fss-heads"),
    kind("mlc", "steps_", "fss-train"),
    kind("mlc", "train_", "fss-heads"),
    kind("pop", "baseline_eval_", "fss-heads"),
    kind("pop", "baseline_head_", "fss-heads"),
    kind("pop", "baseline_train_", "fss-train"),
    kind("pop", "class_order", "fss-data"),
    kind("pop", "coco_polygons", "fss-data"),
    kind("pop", "data_", "fss-data"),
    kind("pop", "eval_loop_", "fss-train"),
    kind("pop", "ft_steps_", "fss-train"),
    kind("pop", "generators", "fss-data"),
    kind("pop", "head_", "fss-heads"),
    kind("pop", "lists_", "fss-data"),
    kind("pop", "loader_order", "fss-data"),
    kind("pop", "loss_", "fss-heads"),
    kind("pop", "lr_schedule", "fss-train"),
    kind("pop", "masked_average_pooling", "fss-kernels"),
    kind("pop", "metric_", "fss-metrics"),
    kind("pop", "model_", "fss-heads"),
    kind("pop", "model_base_train_", "fss-train"),
    kind("pop", "ortho_", "fss-kernels"),
    kind("pop", "psp_", "fss-heads"),
    kind("ssp", "backbone_", "fss-backbone"),
    kind("ssp", "episodes_hsnet_coco", "fss-data"),
    kind("ssp", "episodes_hsnet_fss", "fss-data"),
    kind("ssp", "episodes_hsnet_pascal", "fss-data"),
    kind("ssp", "episodes_own_protocol", "fss-data"),
    kind("ssp", "head_", "fss-heads"),
    kind("ssp", "hsnet_preprocess_", "fss-data"),
    kind("ssp", "masked_average_pooling", "fss-kernels"),
    kind("ssp", "metric_hsnet_", "fss-metrics"),
    kind("ssp", "metric_own", "fss-metrics"),
    kind("ssp", "model_", "fss-heads"),
    kind("ssp", "similarity", "fss-kernels"),
    kind("ssp", "ssp_step_", "fss-kernels"),
    kind("ssp", "steps_", "fss-train"),
    kind("ssp", "train_", "fss-heads"),
    kind("ssp", "transform_train", "fss-data"),
];

/// Systems whose every case has a golden test; of the files of other systems, those of a kind in
/// [`KINDS`] run, and the others are not looked at.
pub const SYSTEMS: &[&str] = &["common", "denet", "hsnet", "imr", "mlc", "pop", "ssp"];

/// The golden directory in force.
pub fn directory() -> PathBuf {
    match std::env::var_os("FSS_GOLDEN_DIR") {
        Some(dir) => {
            let dir = PathBuf::from(dir);
            // Tests run in their package's folder; a relative path means one from the workspace.
            if dir.is_absolute() { dir } else { Path::new(env!("CARGO_MANIFEST_DIR")).join(dir) }
        }
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"),
    }
}

/// The kind of the file `name` of `system`: the longest matching prefix.
pub fn kind_of(system: &str, name: &str) -> Option<&'static Kind> {
    KINDS
        .iter()
        .filter(|kind| kind.system == system && name.starts_with(kind.prefix))
        .max_by_key(|kind| kind.prefix.len())
}

/// Every case file (`.safetensors`, `.json`) of `system`, sorted by name; none if the project's own
/// folder has no such system.
pub fn files(system: &str) -> Vec<PathBuf> {
    let folder = directory().join(system);
    if std::env::var_os("FSS_GOLDEN_DIR").is_none() && !folder.exists() {
        return Vec::new();
    }
    let entries = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("golden folder {}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder entry").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "safetensors" || ext == "json"))
        .collect();
    files.sort();
    files
}

/// All cases of one kind, sorted by name. `prefix` must be one of [`KINDS`].
pub fn cases(system: &str, prefix: &str) -> Vec<Case> {
    assert!(
        KINDS.iter().any(|kind| kind.system == system && kind.prefix == prefix),
        "{system}/{prefix} is not in the table of golden kinds"
    );
    files(system)
        .into_iter()
        .filter(|path| {
            let name = path.file_name().expect("a file name").to_string_lossy().into_owned();
            kind_of(system, &name).is_some_and(|kind| kind.prefix == prefix)
        })
        .map(|path| Case::open(system, path))
        .collect()
}

/// Prints how many cases of a kind ran, and fails if none did.
pub fn report(kind: &str, count: usize) {
    println!("golden {kind}: {count} case(s)");
    assert!(count > 0, "no golden case of kind {kind} in {}", directory().display());
}

/// As [`report`] for a kind too large for the project's own folder: says so if it has no case there.
pub fn report_optional(kind: &str, count: usize) {
    if count == 0 && std::env::var_os("FSS_GOLDEN_DIR").is_none() {
        println!("golden {kind}: SKIPPED, the project's own folder has no case of this kind");
    } else {
        report(kind, count);
    }
}

/// One golden file.
pub struct Case {
    /// The folder that it lies in.
    pub system: String,
    /// File name without its extension.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it shows, in words.
    pub description: String,
    /// Sizes, shots, labels and whatever else the case depends on.
    pub settings: Value,
    bytes: Vec<u8>,
    names: OnceLock<Vec<String>>,
}

impl Case {
    fn open(system: &str, path: PathBuf) -> Self {
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path.file_stem().expect("a file name").to_string_lossy().into_owned();
        let mut case = Self {
            system: system.to_owned(),
            name,
            path,
            description: String::new(),
            settings: Value::Null,
            bytes,
            names: OnceLock::new(),
        };
        if case.is_json() {
            let json = case.json();
            case.description = json["description"].as_str().unwrap_or_default().to_owned();
        } else {
            let (_, header) = SafeTensors::read_metadata(&case.bytes)
                .unwrap_or_else(|e| panic!("{}: {e}", case.path.display()));
            let metadata = header.metadata().clone().unwrap_or_default();
            case.description = metadata.get("description").cloned().unwrap_or_default();
            case.settings = metadata.get("settings").map_or(Value::Null, |text| {
                serde_json::from_str(text)
                    .unwrap_or_else(|e| panic!("{}: settings: {e}", case.path.display()))
            });
        }
        case
    }

    fn is_json(&self) -> bool {
        self.path.extension().is_some_and(|ext| ext == "json")
    }

    /// The whole content of a `.json` case.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|e| panic!("{}: {e}", self.path.display()))
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> &[String] {
        self.names.get_or_init(|| {
            let mut names: Vec<String> =
                self.tensors().names().into_iter().map(str::to_owned).collect();
            names.sort();
            names
        })
    }

    /// Whether the case holds tensor `name`.
    pub fn has(&self, name: &str) -> bool {
        self.names().iter().any(|n| n == name)
    }

    /// The shape of tensor `name`.
    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.view(name, |_, shape, _| shape.to_vec())
    }

    /// Shape and values of a float32 tensor.
    pub fn f32(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        self.read(name, Dtype::F32, f32::from_le_bytes)
    }

    /// Shape and values of a float64 tensor.
    pub fn f64(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        self.read(name, Dtype::F64, f64::from_le_bytes)
    }

    /// Shape and values of an 8-bit tensor.
    pub fn u8(&self, name: &str) -> (Vec<usize>, Vec<u8>) {
        self.read(name, Dtype::U8, u8::from_le_bytes)
    }

    /// Shape and values of an int64 tensor.
    pub fn i64(&self, name: &str) -> (Vec<usize>, Vec<i64>) {
        self.read(name, Dtype::I64, i64::from_le_bytes)
    }

    /// The largest difference between float32 and float64 in the official code that the case states
    /// for a tensor (`f32_vs_f64_max_abs`); 0 if none.
    pub fn f32_gap(&self, tensor: &str) -> f32 {
        self.settings["f32_vs_f64_max_abs"][tensor].as_f64().unwrap_or(0.0) as f32
    }

    /// The integer setting `key`.
    pub fn usize_setting(&self, key: &str) -> usize {
        self.settings[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{}: settings have no integer {key:?}", self.path.display()))
            as usize
    }

    /// The text setting `key`.
    pub fn str_setting(&self, key: &str) -> &str {
        self.settings[key]
            .as_str()
            .unwrap_or_else(|| panic!("{}: settings have no text {key:?}", self.path.display()))
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes)
            .unwrap_or_else(|e| panic!("{}: {e}", self.path.display()))
    }

    fn view<T>(&self, name: &str, read: impl FnOnce(Dtype, &[usize], &[u8]) -> T) -> T {
        let tensors = self.tensors();
        let view = tensors
            .tensor(name)
            .unwrap_or_else(|e| panic!("{}: tensor {name:?}: {e}", self.path.display()));
        read(view.dtype(), view.shape(), view.data())
    }

    fn read<T, const N: usize>(
        &self,
        name: &str,
        dtype: Dtype,
        convert: fn([u8; N]) -> T,
    ) -> (Vec<usize>, Vec<T>) {
        self.view(name, |found, shape, bytes| {
            assert_eq!(found, dtype, "{}: tensor {name:?}", self.path.display());
            let values = bytes
                .chunks_exact(N)
                .map(|chunk| convert(chunk.try_into().expect("a chunk of N bytes")))
                .collect();
            (shape.to_vec(), values)
        })
    }
}

/// Asserts that no value is further than `tolerance` from the wanted one (NaN equals NaN).
pub fn assert_close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}: number of values");
    let mut worst = (0, 0.0f32);
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert_eq!(g.is_nan(), w.is_nan(), "{what}: at {i} got {g}, want {w}");
        let difference = if g == w { 0.0 } else { (g - w).abs() };
        if difference > worst.1 {
            worst = (i, difference);
        }
    }
    let (i, difference) = worst;
    assert!(
        difference <= tolerance,
        "{what}: worst at {i}: got {}, want {}, difference {difference:e} > {tolerance:e}",
        got[i],
        want[i]
    );
}

/// As [`assert_close`], with a tolerance of `fraction` of the largest wanted magnitude.
pub fn assert_close_rel_max(what: &str, got: &[f32], want: &[f32], fraction: f32) {
    let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    assert_close(what, got, want, fraction * largest);
}

/// `|got - want| / |want|` in the L2 norm.
pub fn relative_l2(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len(), "number of values");
    let square = |v: f64| v * v;
    let difference: f64 =
        got.iter().zip(want).map(|(g, w)| square(f64::from(*g) - f64::from(*w))).sum();
    let norm: f64 = want.iter().map(|w| square(f64::from(*w))).sum();
    (difference / norm.max(f64::MIN_POSITIVE)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_every_case_is_covered() {
        let mut count = 0;
        for system in SYSTEMS {
            for path in files(system) {
                let name = path.file_name().expect("a file name").to_string_lossy().into_owned();
                assert!(
                    kind_of(system, &name).is_some(),
                    "{}: no golden test runs this kind of file",
                    path.display()
                );
                count += 1;
            }
        }
        println!("golden coverage: {count} file(s), each of a known kind");
        assert!(count > 0);
    }

    #[test]
    fn longest_prefix_wins() {
        assert_eq!(
            kind_of("ssp", "metric_hsnet_coco.safetensors").unwrap().prefix,
            "metric_hsnet_"
        );
        assert!(kind_of("ssp", "no_such_kind.json").is_none());
    }

    #[test]
    #[should_panic(expected = "worst at 1")]
    fn a_difference_beyond_the_tolerance_fails() {
        assert_close("values", &[0.0, 1.0], &[0.0, 1.1], 1e-3);
    }
}
