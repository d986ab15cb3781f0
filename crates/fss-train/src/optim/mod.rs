//! Optimisers whose state is named by the parameters' paths.
//!
//! Burn's own module optimiser keys its state by parameter id, and ids change with every start. A
//! run must continue to the same bits after a restart, and its checkpoint should be readable
//! elsewhere, so this one keys the state by the parameter's path in the module (as in
//! `backbone.layer2.0.conv1.weight`) and offers it as plain tensors.

mod clip;
mod groups;
mod rule;

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use fss_backbone::NamedTensor;

pub use clip::{clip_gradients, mean_gradients, scale_gradients};
pub use groups::{Group, GroupSettings};
pub use rule::Rule;

use rule::Slots;

/// Updates all parameters of a module that have a gradient.
#[derive(Debug, Clone)]
pub struct NamedOptimizer {
    rule: Rule,
    groups: Vec<Group>,
    state: BTreeMap<String, Slots>,
}

impl NamedOptimizer {
    /// An optimiser without state, all parameters in one group.
    pub fn new(rule: Rule) -> Self {
        Self { rule, groups: Vec::new(), state: BTreeMap::new() }
    }

    /// Adds a parameter group. A parameter of several groups belongs to the one added last.
    pub fn with_group(mut self, group: Group) -> Self {
        self.groups.push(group);
        self
    }

    /// The rule of the update.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// One update of all parameters that `gradients` holds a gradient for, with the learning rate
    /// `rate` (times the factor of the parameter's group). Other parameters stay as they are, and
    /// so does their state.
    pub fn step<M: Module>(&mut self, rate: f64, module: M, gradients: GradientsParams) -> M {
        module.map(&mut Step { optimizer: self, rate, gradients, path: Vec::new() })
    }

    /// The state as named tensors: `<slot>.<path of the parameter>`, for example
    /// `velocity.backbone.layer2.0.conv1.weight`, each flat `[n]`.
    pub fn to_tensors(&self) -> Vec<NamedTensor> {
        self.state
            .iter()
            .flat_map(|(path, slots)| {
                slots.values().into_iter().map(move |(slot, values)| NamedTensor {
                    key: format!("{slot}.{path}"),
                    shape: vec![values.len()],
                    values,
                })
            })
            .collect()
    }

    /// Takes over a state written by [`to_tensors`](Self::to_tensors).
    ///
    /// # Errors
    /// A description of the first tensor that is not part of this rule's state, or is missing.
    pub fn load_tensors(
        &mut self,
        tensors: Vec<NamedTensor>,
        device: &Device,
    ) -> Result<(), String> {
        let mut by_path: BTreeMap<String, BTreeMap<String, Vec<f32>>> = BTreeMap::new();
        for NamedTensor { key, values, .. } in tensors {
            let Some((slot, path)) = key.split_once('.') else {
                return Err(format!("{key:?} names no parameter"));
            };
            by_path.entry(path.to_owned()).or_default().insert(slot.to_owned(), values);
        }
        let device = device.clone().inner();
        self.state = by_path
            .into_iter()
            .map(|(path, slots)| match self.rule.load(slots, &device) {
                Ok(slots) => Ok((path, slots)),
                Err(problem) => Err(format!("the state of {path}: {problem}")),
            })
            .collect::<Result<_, String>>()?;
        Ok(())
    }

    /// The first parameter of the state whose number of values is not the one that `module` has
    /// under this path.
    pub(crate) fn misfit<M: Module>(&self, module: &M) -> Option<String> {
        let mut sizes = Sizes::default();
        module.visit(&mut sizes);
        self.state
            .iter()
            .find(|(path, slots)| sizes.found.get(*path) != Some(&slots.len()))
            .map(|(path, _)| path.clone())
    }

    fn settings(&self, path: &str) -> GroupSettings {
        self.groups
            .iter()
            .rev()
            .find(|group| group.contains(path))
            .map_or_else(GroupSettings::default, |group| group.settings.clone())
    }
}

/// Number of values of every parameter, by path.
#[derive(Default)]
struct Sizes {
    path: Vec<String>,
    found: BTreeMap<String, usize>,
}

impl ModuleVisitor for Sizes {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.insert(self.path.join("."), param.lazy_shape().num_elements());
    }
}

struct Step<'a> {
    optimizer: &'a mut NamedOptimizer,
    rate: f64,
    gradients: GradientsParams,
    path: Vec<String>,
}

impl ModuleMapper for Step<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let Some(gradient) = self.gradients.remove::<D>(id) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let path = self.path.join(".");
        let settings = self.optimizer.settings(&path);
        let tracked = tensor.is_require_grad();
        let strategy = tensor.gradient_checkpointing_strategy();
        let shape = tensor.shape();
        let count = shape.num_elements();

        let state = self.optimizer.state.remove(&path);
        let (updated, state) = self.optimizer.rule.update(
            self.rate * settings.rate_factor,
            settings.weight_decay,
            tensor.inner().reshape([count]),
            gradient.inner().reshape([count]),
            state,
        );
        self.optimizer.state.insert(path, state);

        let mut updated = Tensor::from_inner(updated.reshape(shape));
        if let Some(strategy) = strategy {
            updated = updated.with_gradient_checkpointing_strategy(strategy);
        }
        if tracked {
            updated = updated.require_grad();
        }
        Param::from_mapped_value(id, updated, mapper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    #[derive(Module, Debug)]
    struct Two {
        a: Param<Tensor<2>>,
        b: Param<Tensor<1>>,
    }

    fn module(device: &Device) -> Two {
        Two {
            a: Param::from_data([[1.0, -2.0], [0.5, 3.0]], device),
            b: Param::from_data([0.25, -0.75], device),
        }
    }

    fn train(mut model: Two, optimizer: &mut NamedOptimizer, steps: std::ops::Range<u32>) -> Two {
        for step in steps {
            let scale = f64::from(step) + 0.5;
            let loss = (model.a.val().powi_scalar(2).mean() + model.b.val().sin().sum()) * scale;
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = optimizer.step(0.1, model, gradients);
        }
        model
    }

    fn bits(model: &Two) -> (Vec<f32>, Vec<f32>) {
        (
            model.a.val().into_data().try_into_vec().unwrap(),
            model.b.val().into_data().try_into_vec().unwrap(),
        )
    }

    #[test]
    fn state_survives_new_parameter_ids() {
        let device = Device::flex().autodiff();
        for rule in [
            Rule::sgd(0.9, 5e-4),
            Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 },
        ] {
            let straight = train(module(&device), &mut NamedOptimizer::new(rule.clone()), 0..6);

            let mut first = NamedOptimizer::new(rule.clone());
            let half = train(module(&device), &mut first, 0..3);
            let (a, b) = bits(&half);
            let restarted = Two {
                a: Param::from_data(TensorData::new(a, [2, 2]), &device),
                b: Param::from_data(TensorData::new(b, [2]), &device),
            };
            let mut second = NamedOptimizer::new(rule);
            second.load_tensors(first.to_tensors(), &device).unwrap();
            let resumed = train(restarted, &mut second, 3..6);
            assert_eq!(bits(&straight), bits(&resumed));
        }
    }

    #[test]
    fn groups_scale_the_rate_and_the_last_one_wins() {
        let device = Device::flex().autodiff();
        let mut optimizer = NamedOptimizer::new(Rule::sgd(0.0, 0.0))
            .with_group(Group::prefix("a").with_rate_factor(5.0))
            .with_group(Group::prefix("a").with_rate_factor(0.0));
        let before = bits(&module(&device));
        let after = bits(&train(module(&device), &mut optimizer, 0..1));
        assert_eq!(before.0, after.0);
        assert_ne!(before.1, after.1);
    }

    #[test]
    fn foreign_state_is_refused() {
        let device = Device::flex();
        let mut optimizer = NamedOptimizer::new(Rule::sgd(0.9, 0.0));
        let wrong = vec![NamedTensor { key: "moment.a".into(), shape: vec![1], values: vec![0.0] }];
        let problem = optimizer.load_tensors(wrong, &device).unwrap_err();
        assert!(problem.contains("velocity"), "{problem}");
    }
}
