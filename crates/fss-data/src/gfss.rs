//! Generalized few-shot segmentation (GFSS) as POP's code prepares it (CVPR 2023): which class has which
//! index, which images a run sees, and how they are cut.
//!
//! | | |
//! |---|---|
//! | [`GfssClasses`] | base and novel classes in the order of the network's indices |
//! | [`GfssLists`] | the images of stage 1, and those that show enough of a class; files in the official format |
//! | [`few_shot_list`], [`base_list`] | the images of stage 2, drawn as the official code draws them for a seed |
//! | [`BaseStream`], [`NovelStream`] | training samples of both stages, epoch by epoch |

mod augment;
mod classes;
mod draws;
mod files;
mod lists;
mod streams;

pub use augment::{Augmentation, TrainAugment};
pub use classes::{GfssClasses, NovelOrder, Shown};
pub use draws::{BaseDraw, base_list, base_list_of_epoch, few_shot_list};
pub use files::{
    base_class_file, few_shot_file, fold_folder, novel_class_file, read_list, train_file,
    write_list,
};
pub use lists::{GfssLists, ListOptions, MIN_PIXELS};
pub use streams::{
    BaseStream, LoaderOrder, NovelStream, PlannedPair, PlannedSample, StreamSettings, TrainSample,
    WorkerOffsets,
};
