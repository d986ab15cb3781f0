//! Bounding the gradient.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};

/// Scales all gradients of a module so that their common L2 norm is at most `limit`, by the factor
/// `limit / (norm + 1e-6)` where that is below 1 (PyTorch's `clip_grad_norm_`), and returns the norm from
/// before.
pub fn clip_gradients<M: Module>(gradients: &mut GradientsParams, module: &M, limit: f64) -> f64 {
    let mut squares = Squares { gradients, sums: Vec::new() };
    module.visit(&mut squares);
    let norm = squares.norm();
    let factor = limit / (norm + 1e-6);
    // A norm that is no number is left for the loss to report.
    if factor < 1.0 {
        module.visit(&mut Scale { gradients, factor });
    }
    norm
}

/// Multiplies all gradients of a module.
pub fn scale_gradients<M: Module>(gradients: &mut GradientsParams, module: &M, factor: f64) {
    module.visit(&mut Scale { gradients, factor });
}

/// The mean of the gradients of copies of a module, on one device.
pub fn mean_gradients<M: Module>(
    module: &M,
    copies: Vec<GradientsParams>,
    device: &Device,
) -> GradientsParams {
    let mut mean = Mean { copies, device, sum: GradientsParams::new() };
    module.visit(&mut mean);
    mean.sum
}

struct Mean<'a> {
    copies: Vec<GradientsParams>,
    device: &'a Device,
    sum: GradientsParams,
}

impl ModuleVisitor for Mean<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let count = self.copies.len() as f32;
        // In the order of the copies, so that the sum is always the same.
        let gradients = self.copies.iter_mut().filter_map(|copy| copy.remove::<D>(param.id));
        let device = self.device.clone().inner();
        let sum = gradients.map(|g| g.to_device(&device)).reduce(|sum, gradient| sum + gradient);
        if let Some(sum) = sum {
            self.sum.register::<D>(param.id, sum / count);
        }
    }
}

struct Squares<'a> {
    gradients: &'a GradientsParams,
    /// Of each gradient, `[1]`.
    sums: Vec<Tensor<1>>,
}

impl Squares<'_> {
    /// The common norm. All sums are read back at once: a device is waited for once, not for every gradient.
    fn norm(self) -> f64 {
        if self.sums.is_empty() {
            return 0.0;
        }
        let sums = Tensor::cat(self.sums, 0).to_data();
        sums.iter::<f64>().sum::<f64>().sqrt()
    }
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.sums.push(gradient.square().sum());
        }
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register::<D>(param.id, gradient.mul_scalar(self.factor));
        }
    }
}
