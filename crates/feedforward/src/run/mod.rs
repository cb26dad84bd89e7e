//! The life of a run, whatever its task: folder, plan, training, interrupt, resume, live page,
//! summary.
//!
//! A [`Task`](task::Task) says what its data, network and scores are; [`life`] does everything
//! else, so that no two tasks can drift apart.

pub(crate) mod clock;
pub(crate) mod difference;
pub(crate) mod folder;
pub(crate) mod info;
pub(crate) mod life;
pub(crate) mod live;
pub(crate) mod log;
pub(crate) mod measure;
pub(crate) mod memory;
pub(crate) mod names;
pub(crate) mod page;
pub(crate) mod plan;
pub(crate) mod snapshot;
pub(crate) mod summary;
pub(crate) mod task;
pub(crate) mod trainer;
pub(crate) mod watch;
