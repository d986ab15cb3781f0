//! Peak memory, in MiB, of one 1-shot episode with ResNet-50 (Linux): of SSP or MLC at 473x473, of HSNet or
//! IMR at 400x400. `pop` is one image of 473x473 with 15 base and 5 novel classes, `pop-head` what its head
//! adds to the peak.
//!
//! ```sh
//! cargo run --release --example episode_memory -- hsnet
//! ```

use burn::tensor::{Device, Distribution, Tensor};
use fss_core::backbone::{
    DeepStemResNetConfig, Depth, DilatedResNetConfig, TapBackboneConfig, TapNetwork,
};
use fss_core::heads::{
    AnyModel, FewShotModel, GeneralizedModel, HsnetConfig, ImrConfig, MlcConfig, PopConfig,
    PopHead, Shot, SspConfig,
};
use fss_core::kernels::{Corners, resize_bilinear};
use fss_support::peak_mib;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex();
    match std::env::args().nth(1).as_deref() {
        Some("pop") => {
            let network = DilatedResNetConfig::new(Depth::R50);
            let model = PopConfig::new(network, 15).with_novel(5).init(&device, 0).fold();
            let image = Tensor::random([1, 3, 473, 473], Distribution::Default, &device);
            let logits = resize_bilinear(model.logits(image), [473; 2], Corners::Aligned);
            std::hint::black_box(logits.argmax(1).into_data());
            println!("{:.0}", peak()?);
            return Ok(());
        }
        Some("pop-head") => {
            let head = PopHead::new(512, 15, 0, &device).extended(5, 1);
            let features = Tensor::random([1, 512, 60, 60], Distribution::Default, &device);
            // Kernels of the first layer are made when they are first looked at.
            std::hint::black_box(head.logits(features.clone().narrow(3, 0, 1)).into_data());
            let before = peak()?;
            std::hint::black_box(head.logits(features).into_data());
            println!("{:.0}", peak()? - before);
            return Ok(());
        }
        _ => {}
    }
    let deep_stem = DeepStemResNetConfig::new(Depth::R50);
    let tapped = TapBackboneConfig::new(TapNetwork::Resnet50);
    let (model, side): (Box<dyn AnyModel>, usize) = match std::env::args().nth(1).as_deref() {
        None | Some("ssp") => (Box::new(SspConfig::new(deep_stem).init(&device, 0).fold()), 473),
        Some("mlc") => (Box::new(MlcConfig::new(deep_stem).init(&device, 0).fold()), 473),
        Some("hsnet") => (Box::new(HsnetConfig::new(tapped).init(&device, 0).fold()), 400),
        Some("imr") => (Box::new(ImrConfig::new(tapped).init(&device, 0)?.fold()), 400),
        Some(other) => {
            return Err(
                format!("{other} is no model; give ssp, mlc, hsnet, imr, pop or pop-head").into()
            );
        }
    };
    let features = || {
        let image = Tensor::random([1, 3, side, side], Distribution::Default, &device);
        let features = model.features(image);
        match model.cam_grid() {
            None => features,
            Some(grid) => features.with_cam(Tensor::random(
                [1, 1, grid, grid],
                Distribution::Default,
                &device,
            )),
        }
    };
    let row = Tensor::<1, burn::tensor::Int>::arange(0..side as i64, &device).reshape([1, 1, side]);
    let mask = row.lower_elem(side as i64 / 4).int().expand([1, side, side]);
    let support = model.encode_support(&[Shot { features: features(), mask }])?;
    let logits = model.segment(&support, &features(), [side; 2])?;
    std::hint::black_box(logits.argmax(1).into_data());

    println!("{:.0}", peak()?);
    Ok(())
}

fn peak() -> Result<f64, &'static str> {
    peak_mib().ok_or("the system does not tell the peak memory of a process")
}
