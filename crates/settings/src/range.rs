use crate::ConfigError;

/// The allowed numbers of a setting; never NaN or infinite.
///
/// ```
/// use ff_settings::Range;
/// assert!(Range::BelowOne.check("dropout", 0.5).is_ok());
/// let error = Range::BelowOne.check("dropout", 1.5).unwrap_err();
/// assert_eq!(error.to_string(), "dropout: must be at least 0 and less than 1, found 1.5");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Range {
    /// Any finite number.
    Any,
    /// bound ≤ x
    AtLeast(f64),
    /// bound < x
    Above(f64),
    /// 0 ≤ x < 1
    BelowOne,
    /// 0 ≤ x ≤ 1
    Unit,
}

impl Range {
    /// Checks an optional value.
    ///
    /// # Errors
    /// If the value lies outside the range.
    pub fn check(self, key: &str, value: impl Into<Option<f64>>) -> Result<(), ConfigError> {
        let Some(value) = value.into() else { return Ok(()) };
        let (fits, expected) = match self {
            Self::Any => (true, String::new()),
            Self::AtLeast(least) => (value >= least, format!("be at least {least}")),
            Self::Above(bound) => (value > bound, format!("be greater than {bound}")),
            Self::BelowOne => {
                ((0.0..1.0).contains(&value), "be at least 0 and less than 1".to_owned())
            }
            Self::Unit => ((0.0..=1.0).contains(&value), "be between 0 and 1".to_owned()),
        };
        if fits && value.is_finite() {
            return Ok(());
        }
        let expected = if fits { "be a finite number".to_owned() } else { expected };
        Err(ConfigError::new(key, format!("must {expected}, found {value}")))
    }
}
