//! From private records to teachers: shards, classifiers, and a VAE for each.

mod batch_train_teacher_vaes;
mod prepare_shards;
mod teacher_vae;
mod train_teacher_vae;
mod train_teachers;

pub use batch_train_teacher_vaes::BatchTrainTeacherVaes;
pub use prepare_shards::PrepareShards;
pub use train_teacher_vae::TrainTeacherVae;
pub use train_teachers::TrainTeachers;
