//! Tables of element-wise functions: activations and regression losses.

/// Expands rows to an enum, its properties, and a dispatch over each function and its derivative.
///
/// A row holds: documentation; the variant, with its attribute (default, domain in words and as a
/// condition), if any; the name in recipes; the function in PyTorch; the columns of the table, as
/// fields of `$Columns`; the function; its derivative. In both, `T` is the type of the values and
/// of the attribute.
///
/// `$d` is a dollar sign for the inner macro.
macro_rules! rows {
    (
        ($d:tt)
        $(#[$meta:meta])*
        pub enum $Enum:ident with $Columns:ident;
        $(
            $(#[doc = $doc:literal])+
            $Name:ident $({
                $(#[doc = $about:literal])+
                $attribute:ident = $default:literal, $domain:literal if $valid:expr
            })?
            = $name:literal, $torch:literal, { $($column:ident: $value:expr),+ $(,)? },
            |$($x:ident),+| $f:expr,
            |$($v:ident),+| $df:expr;
        )+
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq)]
        #[non_exhaustive]
        pub enum $Enum {
            $(
                $(#[doc = $doc])+
                $Name $({
                    $(#[doc = $about])+
                    $attribute: f64,
                })?,
            )+
        }

        impl $Enum {
            /// Every row of the table, with default attributes.
            pub const ALL: &[Self] = &[$(Self::$Name $({ $attribute: $default })?),+];

            /// The name in recipes and tables.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$Name { .. } => $name,)+
                }
            }

            /// The equation, with its source.
            pub fn documentation(self) -> &'static str {
                match self {
                    $(Self::$Name { .. } => concat!($($doc),+).trim_start(),)+
                }
            }

            /// The function as a PyTorch expression.
            pub const fn torch(self) -> &'static str {
                match self {
                    $(Self::$Name { .. } => $torch,)+
                }
            }

            /// The name and value of the attribute, if any.
            pub const fn attribute(self) -> Option<(&'static str, f64)> {
                match self {
                    $($(Self::$Name { $attribute } => {
                        Some((stringify!($attribute), $attribute))
                    })?)+
                    _ => None,
                }
            }

            /// The same function with another value of its attribute, if any.
            #[must_use]
            pub const fn with_attribute(self, value: f64) -> Self {
                match self {
                    $($(Self::$Name { .. } => Self::$Name { $attribute: value },)?)+
                    other => other,
                }
            }

            /// Checks the domain of the attribute.
            ///
            /// # Errors
            /// If the value is outside the domain; the message is for users.
            pub fn validate(self) -> Result<(), String> {
                let (rule, found) = match self {
                    $($(Self::$Name { $attribute } if !$valid => {
                        ($domain, $attribute)
                    })?)+
                    _ => return Ok(()),
                };
                Err(format!("{rule}, found {found}"))
            }

            #[allow(unused_variables)] // Most columns do not depend on the attribute.
            pub(super) fn columns(self) -> $Columns {
                match self {
                    $(Self::$Name $({ $attribute })? => $Columns { $($column: $value),+ },)+
                }
            }
        }

        /// Calls `$go(f, df)` with the functions of one row, so that the surrounding loop is
        /// compiled for each. Both are inlined into that loop for each instruction set, and own
        /// their captures, so that these stay in registers.
        macro_rules! with_functions {
            ($d row:expr, $d T:ident, $d go:ident) => {
                match $d row {
                    $($Enum::$Name $({ $attribute })? => {
                        $(let $attribute = $d T::of($attribute);)?
                        $d go!(
                            #[inline(always)]
                            move |$($x: $d T),+| $f,
                            #[inline(always)]
                            move |$($v: $d T),+| $df
                        )
                    })+
                }
            };
        }
        pub(super) use with_functions;
    };
}
pub(crate) use rows;
