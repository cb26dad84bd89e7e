//! TEMP
pub(super) fn load(_i: &super::Input) -> crate::Result<crate::Table> {
    Err(crate::DataError::config("data.format", "not read yet"))
}
