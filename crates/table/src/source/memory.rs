//! Tables that are in memory, read by a path as files are.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use crate::table::Table;

/// What paths of tables in memory begin with.
pub const MEMORY: &str = "memory:";

/// A table in memory.
#[derive(Clone, Debug)]
pub enum InMemory {
    /// The bytes of a file, such as Arrow's interprocess format.
    Bytes(Arc<[u8]>),
    /// Columns.
    Columns(Arc<Table>),
}

thread_local! {
    static OFFERED: RefCell<Vec<(String, InMemory)>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work`, for which these names are paths of tables. They hold on the calling thread, which
/// opens all files of a run, so that runs on other threads have tables of their own.
///
/// ```
/// use ff_table::source::{InMemory, MEMORY, read_table, with_tables};
/// use ff_table::{Column, SourceOptions, Table};
///
/// let table = Table::new(vec![Column::new("x", vec![1.0, 2.0].into())]).unwrap();
/// let path = format!("{MEMORY}table");
/// let tables = vec![(path.clone(), InMemory::Columns(table.into()))];
/// let read = with_tables(tables, || read_table(path.as_ref(), &SourceOptions::default()));
/// assert_eq!(read.unwrap().rows(), 2);
/// ```
pub fn with_tables<R>(tables: Vec<(String, InMemory)>, work: impl FnOnce() -> R) -> R {
    /// Takes the tables back, also when `work` panics.
    struct Restore(Vec<(String, InMemory)>);
    impl Drop for Restore {
        fn drop(&mut self) {
            OFFERED.set(std::mem::take(&mut self.0));
        }
    }
    let _restore = Restore(OFFERED.replace(tables));
    work()
}

/// The table that a path names on this thread.
pub(super) fn find(path: &Path) -> Option<InMemory> {
    let path = path.to_str()?;
    OFFERED.with_borrow(|all| all.iter().find(|(name, _)| name == path).map(|(_, t)| t.clone()))
}

/// Whether a path names a table in memory.
pub(crate) fn is_memory(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.starts_with(MEMORY))
}
