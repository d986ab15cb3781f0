//! Choosing the device at run time.

use burn::tensor::Device;
#[cfg(any(feature = "cuda", feature = "wgpu", feature = "vulkan"))]
use burn::tensor::DeviceType;

use crate::Error;

/// The device that a name such as `cpu`, `cuda`, `cuda:1`, `vulkan` or `wgpu:0` stands for.
///
/// A number picks one of several GPUs; without it the first (CUDA) or the system's default
/// (Vulkan, wgpu) is used.
///
/// # Errors
/// [`Error::Device`] for an unknown name, a device that this build was made without, or one that the machine
/// does not have (or has no driver for).
pub fn parse_device(name: &str) -> Result<Device, Error> {
    let (kind, index) = match name.split_once(':') {
        None => (name, None),
        Some((kind, index)) => match index.parse::<usize>() {
            Ok(index) => (kind, Some(index)),
            Err(_) => return Err(unknown(name)),
        },
    };
    match (kind, index) {
        ("cpu", None) => cpu(),
        ("cuda", index) => cuda(index),
        ("vulkan", index) => vulkan(index),
        ("wgpu", index) => wgpu(index),
        _ => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> Error {
    Error::Device {
        name: name.to_owned(),
        problem: "no such device".into(),
        remedy: "use cpu, cuda, vulkan or wgpu, with :N after it for the N-th GPU".into(),
    }
}

#[allow(dead_code, reason = "used by whichever back ends this build lacks")]
fn missing(kind: &str, feature: &str) -> Error {
    Error::Device {
        name: kind.to_owned(),
        problem: "this build has no support for it".into(),
        remedy: format!("build with `--features {feature}`"),
    }
}

#[cfg(feature = "flex")]
fn cpu() -> Result<Device, Error> {
    Ok(Device::flex())
}

#[cfg(not(feature = "flex"))]
fn cpu() -> Result<Device, Error> {
    Err(missing("cpu", "flex"))
}

#[cfg(feature = "cuda")]
fn cuda(index: Option<usize>) -> Result<Device, Error> {
    let index = index.unwrap_or(0);
    let found = Device::enumerate(DeviceType::Cuda);
    if index >= found.len() {
        return Err(absent(format!("cuda:{index}"), found.len()));
    }
    Ok(Device::cuda(index))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: Option<usize>) -> Result<Device, Error> {
    Err(missing("cuda", "cuda"))
}

/// `device` of `kind`, if the machine has it: Burn opens devices at their first use, where it can only panic.
#[cfg(any(feature = "wgpu", feature = "vulkan"))]
fn reachable(
    name: &str,
    index: Option<usize>,
    device: Device,
    kind: DeviceType,
) -> Result<Device, Error> {
    let found = Device::enumerate(kind);
    match index {
        None if !found.is_empty() => Ok(device),
        Some(_) if found.contains(&device) => Ok(device),
        None => Err(absent(name.to_owned(), found.len())),
        Some(index) => Err(absent(format!("{name}:{index}"), found.len())),
    }
}

#[cfg(any(feature = "cuda", feature = "wgpu", feature = "vulkan"))]
fn absent(name: String, found: usize) -> Error {
    let problem = match found {
        0 => "this machine has no such GPU, or no driver for it".into(),
        1 => "this machine has one such device, and not this one".into(),
        count => format!("this machine has {count} such devices, and not this one"),
    };
    Error::Device {
        name,
        problem,
        remedy: "install the GPU's driver, name another device (the first is number 0), or use cpu"
            .into(),
    }
}

#[cfg(any(feature = "wgpu", feature = "vulkan"))]
fn device_kind(index: Option<usize>) -> burn::tensor::DeviceKind {
    index.map_or(burn::tensor::DeviceKind::DefaultDevice, burn::tensor::DeviceKind::DiscreteGpu)
}

#[cfg(feature = "vulkan")]
fn vulkan(index: Option<usize>) -> Result<Device, Error> {
    reachable("vulkan", index, Device::vulkan(device_kind(index)), DeviceType::Vulkan)
}

#[cfg(not(feature = "vulkan"))]
fn vulkan(_: Option<usize>) -> Result<Device, Error> {
    Err(missing("vulkan", "vulkan"))
}

#[cfg(feature = "wgpu")]
fn wgpu(index: Option<usize>) -> Result<Device, Error> {
    reachable("wgpu", index, Device::wgpu(device_kind(index)), DeviceType::Wgpu)
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(_: Option<usize>) -> Result<Device, Error> {
    Err(missing("wgpu", "wgpu"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "flex")]
    fn the_cpu_is_always_there() {
        assert_eq!(parse_device("cpu").unwrap(), Device::flex());
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        for name in ["gpu", "cuda:x", "cpu:1", ""] {
            let message = parse_device(name).unwrap_err().to_string();
            assert!(message.contains("cuda"), "{message}");
        }
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_device_that_was_not_built_in_names_its_feature() {
        let message = parse_device("cuda:0").unwrap_err().to_string();
        assert!(message.contains("--features cuda"), "{message}");
    }

    #[test]
    #[cfg(any(feature = "cuda", feature = "wgpu", feature = "vulkan"))]
    fn a_gpu_that_is_not_there_is_refused_before_its_first_use() {
        for (built, name) in [
            (cfg!(feature = "cuda"), "cuda:4000"),
            (cfg!(feature = "vulkan"), "vulkan:4000"),
            (cfg!(feature = "wgpu"), "wgpu:4000"),
        ] {
            if built {
                let message = parse_device(name).unwrap_err().to_string();
                assert!(message.contains(name) && message.contains("driver"), "{message}");
            }
        }
    }
}
