//! TEMP
pub(super) fn load(
    _i: &super::Input,
    _o: &super::SourceOptions,
    _n: &mut super::SourceInfo,
) -> crate::Result<crate::Table> {
    Err(crate::DataError::config("data.format", "not read yet"))
}
