//! Workbooks of spreadsheets: how they are recognised, and the error where reading them was not
//! built in.

#[cfg(feature = "excel")]
mod read;

#[cfg(feature = "excel")]
use super::format::SourceInfo;
use super::format::{Blocks, Description, Source, SourceOptions, Whole};
use super::input::Input;
use super::magic;
use crate::error::Result;
#[cfg(feature = "excel")]
use crate::table::Table;

/// Workbooks of Excel and OpenDocument.
pub(super) struct Excel;

/// How workbooks of old begin.
const OLE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";

impl Source for Excel {
    fn description(&self) -> Description {
        Description {
            name: "excel",
            title: "Excel",
            about: "The first sheet of an Excel or OpenDocument workbook, where built in (feature `excel`).",
            extensions: &["xlsx", "xlsm", "xlsb", "xls", "ods"],
            ..Description::default()
        }
    }

    fn recognises(&self, head: &[u8]) -> bool {
        // The name of the first file stands at the beginning of a ZIP.
        let names: [&[u8]; 5] =
            [b"[Content_Types].xml", b"xl/", b"_rels/", b"docProps/", b"mimetype"];
        let first = head.get(30..).unwrap_or_default();
        head.starts_with(OLE)
            || magic::is_zip(head) && names.iter().any(|name| first.starts_with(name))
    }

    fn blocks(&self, input: &Input, options: &SourceOptions) -> Result<Box<dyn Blocks>> {
        Whole::blocks(self, input, options)
    }

    #[cfg(feature = "excel")]
    fn load(
        &self,
        input: &Input,
        options: &SourceOptions,
        info: &mut SourceInfo,
        _: &ff_tensor::ThreadPool,
    ) -> Result<Table> {
        let file = input.seekable("Excel")?;
        let path = input.path();
        super::guard::guarded(path, "Excel", || read::read(file, path, options, info))
    }

    #[cfg(not(feature = "excel"))]
    fn load(
        &self,
        input: &Input,
        _: &SourceOptions,
        _: &mut super::format::SourceInfo,
        _: &ff_tensor::ThreadPool,
    ) -> Result<crate::table::Table> {
        Err(magic::not_built_in(
            input.path(),
            "a workbook of a spreadsheet",
            "excel",
            "Save the sheet as .csv",
        ))
    }
}
