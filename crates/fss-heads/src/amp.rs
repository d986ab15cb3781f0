//! AMP: adaptive masked proxies (Siam, Oreshkin, Jagersand, ICCV 2019), as DENet's code re-implements it.
//!
//! A VGG-16 with a linear pixel classifier at each of three levels learns base classes from plain
//! images with full masks. For an episode the mean feature of the object becomes the row of its class in
//! each classifier, and the row of the background moves towards the mean feature of the supports'
//! background. The three maps of logits are added up, coarse to fine.

mod config;
mod official;
mod proxies;
mod training;

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use fss_backbone::{
    BackboneError, ImagenetBackbone, LoadReport, ModuleFile, NamedTensor, Strictness,
    module_tensors, params,
};
use fss_kernels::{Activation, ConvGeometry, Corners, conv2d_fused, resize_bilinear};

pub use config::{AmpConfig, IMAGE_SIDE, Rivals};
pub use proxies::{ALPHA, AmpMemory, AmpSupport, LevelProxies, binary_logits};

use crate::layers::Convolution;
use crate::{Features, FewShotModel, HeadError, Shot};

/// The AMP model. The backbone is frozen, but its norms move in training; the rest learns.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fss_backbone::{ImagenetConfig, ImagenetNetwork};
/// use fss_heads::{AmpConfig, FewShotModel};
///
/// let device = Device::flex();
/// let backbone = ImagenetConfig::new(ImagenetNetwork::Vgg16).with_width(4);
/// let model = AmpConfig::new(backbone, 21).init(&device, 0).fold();
/// let image = Tensor::ones([1, 3, 65, 49], &device);
/// let support = model.encode_support_images(&[(image.clone(), Tensor::ones([1, 65, 49], &device))])?;
/// assert_eq!(model.segment_images(&support, image)?.dims(), [1, 2, 65, 49]);
/// # Ok::<(), fss_heads::HeadError>(())
/// ```
#[derive(Module, Debug)]
pub struct Amp {
    /// The backbone.
    pub backbone: ImagenetBackbone,
    /// Halves the channels of the deepest level.
    pub reduce: Convolution,
    /// The classifiers of the three levels, shallow to deep.
    pub classifiers: Vec<PixelClassifier>,
    #[module(skip)]
    config: AmpConfig,
}

/// A linear classifier of positions, without bias; row 0 is the background's.
#[derive(Module, Debug)]
pub struct PixelClassifier {
    /// Rows `[C, c, 1, 1]`.
    pub weight: Param<Tensor<4>>,
}

impl PixelClassifier {
    /// The rows `[C, c]`, outside autodiff.
    pub fn rows(&self) -> Tensor<2> {
        let weight = self.weight.val().without_autodiff();
        let [classes, channels, ..] = weight.dims();
        weight.reshape([classes, channels])
    }
}

impl Amp {
    /// What the model was made from.
    pub fn config(&self) -> &AmpConfig {
        &self.config
    }

    /// The same model in which the object competes with something else.
    #[must_use]
    pub fn with_rivals(mut self, rivals: Rivals) -> Self {
        self.config.rivals = rivals;
        self
    }

    /// The model for inference: every norm of the backbone is merged into its convolution.
    #[must_use]
    pub fn fold(self) -> Self {
        Self { backbone: self.backbone.fold(), ..self }
    }

    /// Fills the model from a checkpoint: one of the official code or one of ours, both strictly.
    ///
    /// # Errors
    /// [`BackboneError`] if the file is missing, broken, of another network or of another number of
    /// classes.
    pub fn load(self, path: &Path) -> Result<(Self, LoadReport), BackboneError> {
        let mut file = ModuleFile::open(path)?;
        self.config.backbone.expect_in(&file, "")?;
        file.load(self, "", Strictness::Strict)
    }

    /// All tensors as the official checkpoints have them, in their order: those of the backbone under
    /// both of their names. PyTorch's strict `load_state_dict` takes them once the batch counters are
    /// there ([`fss_backbone::write_state_dict`] adds these).
    ///
    /// # Errors
    /// [`BackboneError`] if the model is folded, or a tensor cannot be read back from its device.
    pub fn state_dict(&self) -> Result<Vec<NamedTensor>, BackboneError> {
        let (rest, classifiers) = module_tensors(self)?
            .into_iter()
            .partition::<Vec<_>, _>(|tensor| !official::CLASSIFIERS.contains(&tensor.key.as_str()));
        let second = rest.iter().filter_map(|tensor| {
            let key = official::second_key(&tensor.key)?;
            Some(NamedTensor { key, ..tensor.clone() })
        });
        let second: Vec<NamedTensor> = second.collect();
        Ok(rest.into_iter().chain(second).chain(classifiers).collect())
    }

    /// What the classifiers say of the background before any support: their own rows.
    pub fn memory(&self) -> AmpMemory {
        let row = |classifier: &PixelClassifier| classifier.rows().narrow(0, 0, 1).flatten(0, 1);
        AmpMemory { rows: self.classifiers.iter().map(row).collect() }
    }

    /// The model whose classifiers have the remembered rows of the background, as the published code
    /// writes them into its weights in every evaluation for good.
    ///
    /// # Errors
    /// [`HeadError::Shape`] for a memory of another model.
    pub fn with_memory(mut self, memory: &AmpMemory) -> Result<Self, HeadError> {
        memory.check(&self.config.channels())?;
        for (classifier, row) in self.classifiers.iter_mut().zip(&memory.rows) {
            let weight = classifier.weight.val().without_autodiff();
            let [classes, channels, ..] = weight.dims();
            let row = row.clone().without_autodiff().reshape([1, channels, 1, 1]);
            let moved = Tensor::cat(vec![row, weight.narrow(0, 1, classes - 1)], 0);
            classifier.weight = params::replaced(&classifier.weight, moved);
        }
        Ok(self)
    }

    /// [`FewShotModel::encode_support`] with a memory and class ids.
    ///
    /// Each support image moves the background rows of `memory` a step further: `r := α b + (1 - α) r`,
    /// α = 0.25821 ([`ALPHA`]), with `b` the unit mean feature of the image's background; sample by
    /// sample and within a sample shot by shot. Run with one memory over a whole test, this is the
    /// published protocol, whose numbers depend on the order of the episodes and on the batch size.
    ///
    /// With `classes`, one id a sample, the object's proxy takes the place of that class's row. Without,
    /// the object is none of the classes that the model knows, and its proxy becomes one more row.
    ///
    /// # Errors
    /// As [`FewShotModel::encode_support`]; [`HeadError::Setting`] for a class id that is 0 or not below
    /// the number of rows, [`HeadError::Shape`] for a memory of another model or another number of
    /// ids than samples.
    pub fn encode_adaptive(
        &self,
        shots: &[Shot],
        classes: Option<&[usize]>,
        memory: &mut AmpMemory,
    ) -> Result<AmpSupport, HeadError> {
        memory.check(&self.config.channels())?;
        let samples = self.check_shots(shots)?;
        self.check_classes(classes, samples)?;
        let mut levels = Vec::with_capacity(self.classifiers.len());
        let mut rows = Vec::with_capacity(self.classifiers.len());
        for (level, classifier) in self.classifiers.iter().enumerate() {
            let shots: Vec<_> =
                shots.iter().map(|shot| (&shot.features.0[level], &shot.mask)).collect();
            let proxies = LevelProxies::new(memory.rows[level].clone(), &shots);
            levels.push(match self.config.rivals {
                Rivals::Classes => proxies.among(classifier.rows(), classes),
                Rivals::Background => proxies.pair(),
            });
            rows.push(proxies.updated);
        }
        *memory = AmpMemory { rows };
        let objects = match (self.config.rivals, classes) {
            (Rivals::Background, _) => vec![1; samples],
            (Rivals::Classes, Some(classes)) => classes.to_vec(),
            (Rivals::Classes, None) => vec![self.config.classes; samples],
        };
        Ok(AmpSupport { levels, objects })
    }

    /// Logits of a query against all rows, at the size of the shallow level.
    ///
    /// # Shapes
    /// - output: `[B, rows, h, w]`: background and classes, then the object if it is none of them; or
    ///   background and object ([`Rivals::Background`])
    ///
    /// # Errors
    /// [`HeadError::Shape`] as for [`FewShotModel::segment`].
    pub fn full_logits(
        &self,
        support: &AmpSupport,
        query: &Features,
    ) -> Result<Tensor<4>, HeadError> {
        let batch = self.check_taps(query, "a query")?;
        let own = support.batch();
        if own != batch && own != 1 {
            return Err(HeadError::Shape {
                what: "the features of a query".into(),
                got: format!("a batch of {batch}"),
                want: format!("a batch of {own}, as its support set"),
            });
        }
        let levels = query.0.iter().zip(&support.levels);
        Ok(fused(levels.map(|(map, rows)| classified(map.clone(), rows.clone()))))
    }

    /// The three levels that the classifiers read, from those of the backbone: the deepest is reduced.
    fn reduced(&self, level3: Tensor<4>) -> Tensor<4> {
        let weight = self.reduce.weight.val().without_autodiff();
        let bias = self.reduce.bias.val().without_autodiff();
        conv2d_fused(level3, weight, bias, None, ConvGeometry::POINTWISE, Activation::None)
    }

    /// Number of samples of a support set that fits.
    fn check_shots(&self, shots: &[Shot]) -> Result<usize, HeadError> {
        let Some(first) = shots.first() else { return Err(HeadError::NoSupport) };
        let samples = first.features.batch();
        for shot in shots {
            let batch = self.check_taps(&shot.features, "a support image")?;
            for (what, got) in
                [("the features of a shot", batch), ("the masks of a shot", shot.mask.dims()[0])]
            {
                if got != samples {
                    return Err(HeadError::Shape {
                        what: what.into(),
                        got: format!("a batch of {got}"),
                        want: format!("a batch of {samples}"),
                    });
                }
            }
        }
        Ok(samples)
    }

    /// Number of samples of features that fit.
    fn check_taps(&self, features: &Features, what: &str) -> Result<usize, HeadError> {
        let want = self.config.channels().to_vec();
        let got: Vec<usize> = features.0.iter().map(|tap| tap.dims()[1]).collect();
        if got != want {
            return Err(HeadError::Shape {
                what: format!("the features of {what}"),
                got: format!("taps of {got:?} channels"),
                want: format!("taps of {want:?} channels"),
            });
        }
        Ok(features.batch())
    }

    fn check_classes(&self, classes: Option<&[usize]>, samples: usize) -> Result<(), HeadError> {
        let Some(classes) = classes else { return Ok(()) };
        if classes.len() != samples {
            return Err(HeadError::Shape {
                what: "the list of class ids".into(),
                got: format!("{} entries", classes.len()),
                want: format!("{samples}, one for each sample"),
            });
        }
        match classes.iter().find(|class| **class == 0 || **class >= self.config.classes) {
            None => Ok(()),
            Some(class) => Err(HeadError::Setting {
                problem: format!(
                    "class id {class} has no row in a classifier of {} rows, of which 0 is the \
                     background's",
                    self.config.classes
                ),
                remedy: format!(
                    "give an id from 1 to {}, or none for a class that the model does not know",
                    self.config.classes - 1
                ),
            }),
        }
    }
}

/// Logits `[B, rows, h, w]` of a map `[B, c, h, w]` by rows `[B, rows, c]` or `[1, rows, c]`.
fn classified(map: Tensor<4>, rows: Tensor<3>) -> Tensor<4> {
    let [batch, channels, height, width] = map.dims();
    let [own, count, _] = rows.dims();
    let rows = if own == batch { rows } else { rows.expand([batch, count, channels]) };
    rows.matmul(map.reshape([batch, channels, height * width]))
        .reshape([batch, count, height, width])
}

/// The sum of logits of all levels, shallow to deep, coarse ones enlarged (corners aligned) step by
/// step.
fn fused(levels: impl DoubleEndedIterator<Item = Tensor<4>>) -> Tensor<4> {
    let sum = levels.rev().reduce(|coarse, fine| {
        let [_, _, height, width] = fine.dims();
        fine + resize_bilinear(coarse, [height, width], Corners::Aligned)
    });
    sum.unwrap_or_else(|| unreachable!("a model has three levels"))
}

impl FewShotModel for Amp {
    type Support = AmpSupport;

    fn image_side(&self) -> Option<usize> {
        Some(self.config.side)
    }

    /// Three taps: the shallow and the middle level, and the deepest one with its channels reduced.
    fn features(&self, images: Tensor<4>) -> Features {
        let levels = self.backbone.forward(images);
        Features(vec![levels.level1, levels.level2, self.reduced(levels.level3)])
    }

    /// The background rows start from those of the weights in every episode, so that no episode
    /// depends on another, and the object is none of the classes that the model knows:
    /// [`Amp::encode_adaptive`] can do both otherwise.
    fn encode_support(&self, shots: &[Shot]) -> Result<AmpSupport, HeadError> {
        self.encode_adaptive(shots, None, &mut self.memory())
    }

    /// The object's logit against the largest of all other rows. (The published evaluation compares
    /// the class of the highest row itself with a mask of zeros and ones, which only the classes 1 and
    /// 2 can ever match.)
    fn segment(
        &self,
        support: &AmpSupport,
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        let full = self.full_logits(support, query)?;
        let objects = support.objects_of(full.dims()[0]);
        Ok(resize_bilinear(binary_logits(full, &objects), size, Corners::Aligned))
    }
}
