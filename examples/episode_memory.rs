//! Peak memory, in MiB, of one episode with ResNet-50 at 473x473 (Linux), of SSP or of MLC.
//!
//! ```sh
//! cargo run --release --example episode_memory -- mlc
//! ```

use burn::tensor::{Device, Distribution, Tensor};
use fss_core::backbone::{DeepStemResNetConfig, Depth};
use fss_core::heads::{AnyModel, FewShotModel, MlcConfig, SspConfig};

const SIDE: usize = 473;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex();
    let network = DeepStemResNetConfig::new(Depth::R50);
    let model: Box<dyn AnyModel> = match std::env::args().nth(1).as_deref() {
        None | Some("ssp") => Box::new(SspConfig::new(network).init(&device, 0).fold()),
        Some("mlc") => Box::new(MlcConfig::new(network).init(&device, 0).fold()),
        Some(other) => return Err(format!("{other} is no model; give ssp or mlc").into()),
    };
    let image = || Tensor::<4>::random([1, 3, SIDE, SIDE], Distribution::Default, &device);
    let row = Tensor::<1, burn::tensor::Int>::arange(0..SIDE as i64, &device).reshape([1, 1, SIDE]);
    let mask = row.lower_elem(SIDE as i64 / 4).int().expand([1, SIDE, SIDE]);
    let support = model.encode_support_images(&[(image(), mask)])?;
    let logits = model.segment_images(&support, image())?;
    std::hint::black_box(logits.argmax(1).into_data());

    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
        .ok_or("the system does not tell the peak memory of a process")?;
    println!("{:.0}", peak.trim().parse::<f64>()? / 1024.0);
    Ok(())
}
