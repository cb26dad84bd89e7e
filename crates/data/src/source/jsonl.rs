//! TEMP
pub(super) fn load(_i: &super::Input, _o: &super::SourceOptions) -> crate::Result<crate::Table> {
    Err(crate::DataError::config("data.format", "not read yet"))
}
pub(super) fn blocks(_i: &super::Input, _o: &super::SourceOptions) -> crate::Result<super::Whole> {
    Err(crate::DataError::config("data.format", "not read yet"))
}
