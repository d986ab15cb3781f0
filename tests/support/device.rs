//! The device that tests run on, for crates that know Burn: included there by path.

use burn::tensor::Device;

/// The CPU, or the device that `FSS_TEST_DEVICE` names: `vulkan`, `wgpu` or `cuda`, where it is built in.
#[allow(dead_code, reason = "not every test that includes this file needs a device")]
pub fn test_device() -> Device {
    match std::env::var("FSS_TEST_DEVICE").as_deref() {
        #[cfg(feature = "flex")]
        Err(_) | Ok("" | "cpu") => Device::flex(),
        #[cfg(not(feature = "flex"))]
        Err(_) => panic!("this build has no CPU; set FSS_TEST_DEVICE"),
        #[cfg(feature = "vulkan-plain")]
        Ok("vulkan") => Device::vulkan(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "wgpu-plain")]
        Ok("wgpu") => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "cuda-plain")]
        Ok("cuda") => Device::cuda(0),
        Ok(other) => panic!("FSS_TEST_DEVICE={other}: no such device in this build"),
    }
}
